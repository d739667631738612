"""`python -m engines.zoo.train yolo|faster-rcnn`: train a built-in detector, resumably.

Without `--coco` it draws the shelf world first, once; with it, it learns from a COCO folder
(`images/` and `annotations.json`), best from weights that know the shelf world (`--from`).
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edge.errors import EdgeError
from engines.zoo import faster_rcnn, faster_rcnn_loss, scenes, yolo, yolo_loss
from engines.zoo.dataset import Dataset, Jitter, jittered
from engines.zoo.training import Run, Schedule
from engines.zoo.yolo_loss import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    Batch = tuple[torch.Tensor, list[Truth]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: from which share of the steps on cut-outs of which size.

    Cut-outs first: as many things are learned from in a second, in more steps.
    """

    network: Callable[[int], nn.Module]
    loss: Callable[..., dict[str, torch.Tensor]]
    whole_wh: tuple[int, int]
    """The input size it is trained for."""
    sizes: tuple[tuple[float, tuple[int, int]], ...]
    steps: int
    batch: int
    rate: float
    file: str
    """What a finished run writes for edge-build-engine, beside `LABELS_FILE`."""

    def largest_only(self) -> tuple[tuple[float, tuple[int, int]], ...]:
        """Return the sizes for weights that have learned from smaller cut-outs already."""
        return ((0.0, self.sizes[-1][1]),)

    def write(self, network: nn.Module, labels: Sequence[str], folder: Path) -> None:
        """Write that file."""
        if isinstance(network, yolo.Yolo):
            yolo.export(network, self.whole_wh, labels, str(folder / self.file))
        else:
            # Half precision: half as large, and rounded far less than INT8 rounds.
            halves = {
                name: value.half() if value.is_floating_point() else value
                for name, value in network.state_dict().items()
            }
            torch.save(halves, folder / self.file)


LABELS_FILE = "labels.txt"
_LITTLE: dict[str, Any] = {"zoom": (0.9, 1.1), "stretch": 0.04, "gain": 0.15, "tint": 0.06}
RECIPES = {
    "yolo": Recipe(
        yolo.Yolo, yolo_loss.loss, (384, 224),
        ((0.0, (192, 128)), (0.45, (256, 160)), (0.7, (384, 224))), 3200, 16, 2e-3, "model.onnx",
    ),
    "faster-rcnn": Recipe(
        faster_rcnn.FasterRcnn, faster_rcnn_loss.loss, (640, 384),
        ((0.0, (224, 160)), (0.7, (448, 288))), 2400, 8, 1e-3, "model.pth",
    ),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Train; errors of ours become one line on stderr and their exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    try:
        _train(arguments)
    except EdgeError as error:
        print(f"engines.zoo.train: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _train(arguments: argparse.Namespace) -> None:
    data = Dataset(_folders(arguments))
    recipe = RECIPES[arguments.network]
    network = recipe.network(len(data.labels)).to(arguments.device)
    schedule = Schedule(
        arguments.steps or recipe.steps, arguments.batch or recipe.batch,
        arguments.rate or recipe.rate, seed=arguments.seed,
        sizes=recipe.sizes if arguments.weights is None else recipe.largest_only(),
    )  # fmt: skip
    run = Run(network, schedule, arguments.out)
    if not run.resume() and arguments.weights is not None:
        run.begin_from(arguments.weights)
    run.train(
        partial(settling, data, schedule, recipe.whole_wh, arguments.settle),
        partial(_losses, recipe, arguments.device),
        shown(time.monotonic(), run.step),
    )
    (arguments.out / LABELS_FILE).write_text("\n".join(data.labels) + "\n")
    recipe.write(run.average.network.cpu(), data.labels, arguments.out)
    _log.info("wrote %s and %s in %s", recipe.file, LABELS_FILE, arguments.out)


def settling(  # noqa: PLR0913, PLR0917 - the first four belong to the run, three to the step
    data: Dataset,
    schedule: Schedule,
    whole_wh: tuple[int, int],
    share: float,
    step: int,
    size_wh: tuple[int, int],
    chance: np.random.Generator,
) -> Batch:
    """Return a batch; in the last `share` of the steps its frames are changed a little only."""
    settled = step >= (1 - share) * schedule.steps
    jitter = Jitter(whole_wh, **_LITTLE) if settled else Jitter(whole_wh)
    return batch_of(data, schedule.batch, jitter, step, size_wh, chance)


def batch_of(
    data: Dataset,
    count: int,
    jitter: Jitter,
    _step: int,
    size_wh: tuple[int, int],
    chance: np.random.Generator,
) -> Batch:
    """Return frames, RGB uint8 (B, 3, H, W), and what is true of each."""
    picked = chance.integers(0, len(data), count)
    samples = [jittered(data[int(number)], size_wh, jitter, chance) for number in picked]
    pixels = np.stack([sample.image[:, :, ::-1] for sample in samples])
    frames = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)
    truths = [
        Truth(*(torch.from_numpy(a) for a in (one.boxes, one.labels, one.ignored)))
        for one in samples
    ]
    return frames, truths


def _losses(
    recipe: Recipe, device: str, network: nn.Module, batch: Batch
) -> dict[str, torch.Tensor]:
    frames, truths = batch
    there = [Truth(*(a.to(device) for a in (t.boxes, t.labels, t.ignored))) for t in truths]
    return recipe.loss(network, frames.to(device), there)


def shown(started: float, first: int) -> Callable[[int, int, dict[str, float]], None]:
    """Return what logs a line of progress."""

    def show(step: int, steps: int, losses: dict[str, float]) -> None:
        each = (time.monotonic() - started) / max(1, step - first)
        said = ", ".join(f"{name} {value:.3f}" for name, value in losses.items())
        left = each * (steps - step) / 60
        _log.info("step %d of %d, %.2f s each, %.0f min left: %s", step, steps, each, left, said)

    return show


def _folders(arguments: argparse.Namespace) -> list[Path]:
    if arguments.coco is not None:
        return [arguments.coco]
    folders = []
    for number, part in enumerate(scenes.TRAIN):
        folder = arguments.data / str(number)
        scenes.draw(part, folder, arguments.workers, partial(_drawn, number))
        folders.append(folder)
    return folders


def _drawn(part: int, done: int, count: int) -> None:
    _log.info("drawing part %d of %d: %d of %d", part + 1, len(scenes.TRAIN), done, count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.zoo.train", description=__doc__)
    parser.add_argument("network", choices=("yolo", "faster-rcnn"))
    parser.add_argument("--out", type=Path, required=True, help="where the run is kept, resumed")
    parser.add_argument("--data", type=Path, default=Path("shelf-world"), help="frames, drawn once")
    parser.add_argument("--coco", type=Path, help="a COCO folder to learn from instead")
    parser.add_argument("--from", dest="weights", type=Path, help="weights to begin with")
    parser.add_argument("--steps", type=int, help="default: the network's own")
    parser.add_argument("--batch", type=int)
    parser.add_argument("--rate", type=float)
    parser.add_argument(
        "--settle", type=float, default=0.0, metavar="SHARE",
        help="of the steps, the last ones, on frames nearly as they are",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    return parser


if __name__ == "__main__":
    sys.exit(main())
