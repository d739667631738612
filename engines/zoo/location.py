"""`python -m engines.zoo.location --out DIR`: what a detector learns of where things stand.

The same YOLO is trained twice, on frames that show each label in half of the picture only (`lab`)
and on frames that show every label everywhere (`all`): the same buildings, steps, seed and number
of frames. Whole frames, neither cut nor mirrored: that would move the things, and hide what is
measured. Both are held to buildings of neither, in styles of neither, twice: where `lab` shows a
label (`seen`) and where it never did (`unseen`), in float and in INT8.

Whatever is in DIR already is not made again: a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import json
import logging
import multiprocessing
import shutil
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from edge.capture.shelf_world.splits import Locations, Split
from edge.detector.bundle import PORTABLE_GRAPH, load_bundle
from edge.tools import amounts
from engines.errors import BuildError
from engines.zoo import command, scenes, scoring
from engines.zoo.dataset import Dataset, Jitter
from engines.zoo.finished import LABELS_FILE
from engines.zoo.location_maps import Measured, summary, svg

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from engines.inspection import Adapted

SIZE_WH = (288, 160)
"""As near to the frames' shape as sides that 32 divides come: their cells are the same."""
ARMS = ("lab", "all")
BUILT_IN = "built-in"
MODEL, RESULT = "model.onnx", "location.json"
_VIEWS = ("shelf", "shelf", "shelf", "aisle")
"""A mast moves: it has no locations."""
PICTURES = {
    "lab": scenes.Scenes(3_000_000, 200, 2, Split.TRAIN, Locations.LAB, _VIEWS),
    "all": scenes.Scenes(3_000_000, 200, 2, Split.TRAIN, Locations.ALL, _VIEWS),
    "seen": scenes.Scenes(4_000_000, 80, 2, Split.HELD_OUT, Locations.LAB, _VIEWS),
    "unseen": scenes.Scenes(4_000_000, 80, 2, Split.HELD_OUT, Locations.UNSEEN, _VIEWS),
}
STILL = Jitter(SIZE_WH, zoom=(1.0, 1.0), stretch=0.0, mirror=False)

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the experiment; return the exit status."""
    return command.ended("location", partial(_experiment, _parser().parse_args(argv)))


def train(out: Path, arm: str, steps: int, batch: int) -> None:
    """Train an arm on one thread, or what is left of it, and write its ONNX into `out`/`arm`."""
    import torch

    from engines.zoo.recipes import RECIPES, Batches
    from engines.zoo.training import Run, Schedule, shown

    logging.basicConfig(level=logging.INFO, format=f"{arm}: %(message)s")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    data, folder = Dataset([out / "data" / arm]), out / arm
    recipe = RECIPES["yolo"]
    network = recipe.network(len(data.labels))
    run = Run(network, Schedule(steps, batch, recipe.rate, sizes=((0.0, SIZE_WH),)), folder)
    run.resume()
    run.train(
        Batches(data, batch, lambda _step: STILL),
        lambda net, frames_truths: recipe.loss(net, *frames_truths),
        shown(time.monotonic(), run.step),
    )
    _export(run.average.network, data.labels, folder)


def _experiment(arguments: argparse.Namespace) -> None:
    out: Path = arguments.out
    for name, wanted in PICTURES.items():
        scenes.draw(wanted, out / "data" / name, arguments.workers, partial(_drawn, name))
    # Not forked: torch's threads do not survive that.
    with ProcessPoolExecutor(len(ARMS), multiprocessing.get_context("spawn")) as pool:
        runs = [pool.submit(train, out, a, arguments.steps, arguments.batch) for a in ARMS]
        for run in runs:
            run.result()
    arms = list(ARMS)
    if arguments.weights is not None:
        _built_in(arguments.weights, out)
        arms.append(BUILT_IN)
    found = [measured for arm in arms for measured in measure(out, arm)]
    (out / RESULT).write_text(json.dumps(summary(found), indent=1) + "\n")
    for view in sorted(set(_VIEWS)):
        rows = [[m for m in found if (m.arm, m.view) == (arm, view)] for arm in arms]
        (out / f"location-{view}.svg").write_text(svg([_shown(row) for row in rows]))
    print(json.dumps(summary(found), indent=1))


def measure(out: Path, arm: str) -> list[Measured]:
    """Build an arm's bundle, and hold its float and INT8 graph to the held-out pictures.

    Each view for itself: things are larger in one than in the other.
    """
    adapted = _built(out, arm)
    graphs: dict[str, bytes | Path] = {
        "float": adapted.graph.SerializeToString(),
        "INT8": out / arm / "bundle" / PORTABLE_GRAPH,
    }
    found = []
    for where in ("seen", "unseen"):
        data, views = Dataset([out / "data" / where]), scenes.views(PICTURES[where])
        for precision, graph in graphs.items():
            detected = scoring.detect(graph, adapted.input, data)
            by_view = scoring.judge_by_view(*detected, views, data.labels)
            found += [Measured(arm, v, where, precision, score) for v, score in by_view.items()]
    return found


def _shown(row: list[Measured]) -> list[Measured]:
    """Leave out INT8 where it is only there to compare with."""
    return [m for m in row if (m.where, m.precision) != ("seen", "INT8")]


def _built(out: Path, arm: str) -> Adapted:
    from rich.console import Console

    from engines.build import build
    from engines.gate import Gate
    from engines.inspection import Order, understand
    from engines.progress import shown
    from engines.zoo.build import calibration_images

    folder = out / arm
    adapted = understand(
        Order(folder / MODEL, f"location-{arm}", "1.0.0", labels=folder / LABELS_FILE)
    )
    if (folder / "bundle").exists() and not _is_of(adapted, folder / "bundle"):
        _log.info("%s: built of another model, built anew", folder / "bundle")
        shutil.rmtree(folder / "bundle")
    if not (folder / "bundle").exists():
        pictures = out / "data" / (arm if arm in ARMS else "all")
        images = calibration_images(pictures, folder / "images")
        # What INT8 loses is measured here: it must not stop the build.
        gate = Gate(search=False, allow_drop=True, tensorrt=False)
        with shown(Console(stderr=True)) as progress:
            build(adapted, [images], folder / "bundle", progress, gate)
    return adapted


def _is_of(adapted: Adapted, bundle: Path) -> bool:
    """Whether the bundle was built of this very model: other weights may have been given since."""
    return load_bundle(bundle).passport.source["sha256"] == adapted.network.source.sha256


def _built_in(weights: Path, out: Path) -> None:
    from engines.zoo import yolo
    from engines.zoo.training import read_weights

    labels = Dataset([out / "data" / "all"]).labels
    network = yolo.Yolo(len(labels))
    try:
        network.load_state_dict(read_weights(weights))
    except RuntimeError as error:
        raise BuildError(
            f"weights {weights}: {str(error).splitlines()[0]}", "give weights of the built-in YOLO"
        ) from error
    _export(network, labels, out / BUILT_IN)


def _export(network: torch.nn.Module, labels: Sequence[str], folder: Path) -> None:
    from engines.zoo import yolo

    folder.mkdir(parents=True, exist_ok=True)
    (folder / LABELS_FILE).write_text("\n".join(labels) + "\n")
    yolo.export(network, SIZE_WH, labels, str(folder / MODEL))


def _drawn(name: str, done: int, count: int) -> None:
    _log.info("drawing %s: %d of %d", name, done, count)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.zoo.location", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="where everything is kept, resumed")
    parser.add_argument("--steps", type=amounts.count, default=900)
    parser.add_argument("--batch", type=amounts.count, default=8)
    parser.add_argument("--weights", type=Path, help="a third arm: a YOLO as it is, not trained")
    parser.add_argument("--workers", type=amounts.count, default=2, help="processes that draw")
    return parser


if __name__ == "__main__":
    sys.exit(main())
