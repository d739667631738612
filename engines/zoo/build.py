"""`python -m engines.zoo.build yolo|faster-rcnn`: a finished run to an INT8 bundle, and its score.

The shelf world's own frames calibrate it; what `scoring` measures on the held-out split, in float
and in INT8, is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.bundle import PORTABLE_GRAPH, TENSORRT_GRAPH
from edge.tools import amounts
from engines.zoo import command, scenes, scoring
from engines.zoo.dataset import Dataset
from engines.zoo.finished import FINISHED, LABELS_FILE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detector.bundle import InputSpec
    from engines.inspection import Adapted, Order

_CALIBRATION = 192

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Build and score; return the exit status."""
    return command.ended("build", partial(_run, _parser().parse_args(argv)))


def _run(arguments: argparse.Namespace) -> None:
    from rich.console import Console

    from engines.build import build
    from engines.gate import Gate
    from engines.inspection import understand
    from engines.progress import shown

    adapted = understand(_order(arguments))
    images = calibration_images(arguments.data / "0", arguments.data / "images")
    gate = Gate(
        annotations=images / scenes.ANNOTATIONS, tensorrt=arguments.runtime != "onnxruntime"
    )
    with shown(Console(stderr=True)) as progress:
        built = build(adapted, [images], arguments.out, progress, gate)
    held_out = arguments.data / "held_out"
    scenes.draw(scenes.HELD_OUT, held_out, arguments.workers, _drawn)
    found = scores(adapted, arguments.out, Dataset([held_out]))
    found["speed"] = built.evaluated.speed
    print(json.dumps(found, indent=1))


def scores(adapted: Adapted, bundle: Path, data: Dataset) -> dict[str, object]:
    """Return the summary of the float model and of each of the bundle's graphs, by part."""
    graphs: dict[str, Path | bytes] = {"float": adapted.graph.SerializeToString()}
    for part in (PORTABLE_GRAPH, TENSORRT_GRAPH):
        if (bundle / part).exists():
            graphs[part] = bundle / part
    return {part: _scored(graph, adapted.input, data) for part, graph in graphs.items()}


def _scored(graph: Path | bytes, spec: InputSpec, data: Dataset) -> dict[str, Any]:
    detected = scoring.detect(graph, spec, data)
    by_view = scoring.judge_by_view(*detected, scenes.views(scenes.HELD_OUT), data.labels)
    return {
        **scoring.judge(*detected, data.labels).summary(),
        "map50_95_by_view": {view: round(found.ap, 4) for view, found in by_view.items()},
    }


def _drawn(done: int, count: int) -> None:
    _log.info("drawing what is held out: %d of %d", done, count)


def calibration_images(drawn: Path, folder: Path) -> Path:
    """Write frames of a drawn part as PNG files, and what is in them, once; return their folder."""
    import cv2

    if folder.exists():
        return folder
    frames = np.load(drawn / scenes.FRAMES, mmap_mode="r")
    part = folder.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    coco = json.loads((drawn / scenes.ANNOTATIONS).read_text())
    kept = [coco["images"][n] for n in np.linspace(0, len(frames) - 1, _CALIBRATION).astype(int)]
    for image in kept:
        number, image["file_name"] = int(image["file_name"]), f"{image['file_name']}.png"
        cv2.imwrite(str(part / image["file_name"]), np.asarray(frames[number]))
    there = {image["id"] for image in kept}
    things = [thing for thing in coco["annotations"] if thing["image_id"] in there]
    coco |= {"images": kept, "annotations": things}
    (part / scenes.ANNOTATIONS).write_text(json.dumps(coco))
    part.replace(folder)
    return folder


def _order(arguments: argparse.Namespace) -> Order:
    from engines.inspection import Order

    left = FINISHED[arguments.network]
    return Order(
        arguments.run / left.model,
        f"shelf-{arguments.network}",
        arguments.version_,
        labels=arguments.run / LABELS_FILE,
        size_wh=left.size_wh,
        proposals=left.proposals,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.zoo.build", description=__doc__)
    parser.add_argument("network", choices=tuple(FINISHED))
    parser.add_argument("--run", type=Path, required=True, help="what engines.zoo.train wrote")
    parser.add_argument("--data", type=Path, default=Path("shelf-world"), help="as in training")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument(
        "--runtime", choices=("auto", "onnxruntime"), default="auto",
        help="onnxruntime: no graph for TensorRT",
    )  # fmt: skip
    parser.add_argument("--version", dest="version_", default="1.0.0", metavar="V")
    parser.add_argument("--workers", type=amounts.count, default=2, help="processes that draw")
    return parser


if __name__ == "__main__":
    sys.exit(main())
