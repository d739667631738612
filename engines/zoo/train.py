"""`python -m engines.zoo.train yolo|faster-rcnn`: train a built-in detector, resumably.

Without `--coco` it draws the shelf world first, once; with it, it learns from a COCO folder
(`images/` and `annotations.json`), best from weights that know the shelf world (`--from`).
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import StartError
from edge.tools import amounts
from engines.zoo import command, scenes
from engines.zoo.dataset import Dataset
from engines.zoo.finished import FINISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Train; return the exit status."""
    return command.ended("train", partial(_train, _parser().parse_args(argv)))


def _train(arguments: argparse.Namespace) -> None:
    import torch

    from engines.zoo import recipes
    from engines.zoo.training import Run, Schedule, shown

    if arguments.device == "cuda" and not torch.cuda.is_available():
        raise StartError("--device cuda: torch finds no GPU here", "leave it out to train on CPU")
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(arguments.threads)
    recipe = recipes.RECIPES[arguments.network]
    schedule = Schedule(
        arguments.steps or recipe.steps, arguments.batch or recipe.batch,
        arguments.rate or recipe.rate, seed=arguments.seed,
        sizes=recipe.sizes if arguments.weights is None else recipe.largest_only(),
    )  # fmt: skip
    data = Dataset(_folders(arguments))
    run = Run(recipe.network(len(data.labels)).to(arguments.device), schedule, arguments.out)
    if not run.resume() and arguments.weights is not None:
        run.begin_from(arguments.weights)
    jitter_at = recipes.settling(recipe.whole_wh, (1 - arguments.settle) * schedule.steps)
    run.train(
        recipes.Batches(data, schedule.batch, jitter_at),
        partial(recipes.losses, recipe, arguments.device),
        shown(time.monotonic(), run.step),
    )
    network = run.average.network.cpu()
    _log.info("wrote %s", recipes.write(arguments.network, network, data.labels, arguments.out))


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
    parser.add_argument("network", choices=tuple(FINISHED))
    parser.add_argument("--out", type=Path, required=True, help="where the run is kept, resumed")
    parser.add_argument("--data", type=Path, default=Path("shelf-world"), help="frames, drawn once")
    parser.add_argument("--coco", type=Path, help="a COCO folder to learn from instead")
    parser.add_argument("--from", dest="weights", type=Path, help="weights to begin with")
    parser.add_argument("--steps", type=amounts.count, help="default: the network's own")
    parser.add_argument("--batch", type=amounts.count)
    parser.add_argument("--rate", type=amounts.positive)
    parser.add_argument(
        "--settle", type=amounts.share, default=0.0, metavar="SHARE",
        help="of the steps, the last ones, on frames nearly as they are",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--threads", type=amounts.count, default=2)
    parser.add_argument("--workers", type=amounts.count, default=2, help="processes that draw")
    return parser


if __name__ == "__main__":
    sys.exit(main())
