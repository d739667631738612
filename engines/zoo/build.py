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
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from edge.detector.bundle import PORTABLE_GRAPH, TENSORRT_GRAPH
from edge.errors import EdgeError
from engines.build import build
from engines.gate import Gate
from engines.inspection import Order, understand
from engines.progress import shown
from engines.zoo import scenes, scoring
from engines.zoo.dataset import Dataset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detector.bundle import InputSpec
    from engines.inspection import Adapted

MODELS = {"yolo": ("model.onnx", None, None), "faster-rcnn": ("model.pth", (640, 384), 200)}
"""What `engines.zoo.train` leaves in its folder; the input size and the proposals that are kept,
where the file says neither."""
LABELS_FILE = "labels.txt"
_CALIBRATION = 192

_log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> int:
    """Build and score; errors of ours become one line on stderr and their exit status."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _run(arguments)
    except EdgeError as error:
        print(f"engines.zoo.build: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _run(arguments: argparse.Namespace) -> None:
    adapted = understand(_order(arguments))
    images = calibration_images(arguments.data / "0", arguments.data / "images")
    gate = Gate(
        annotations=images / scenes.ANNOTATIONS, tensorrt=arguments.runtime != "onnxruntime"
    )
    with shown(Console(stderr=True)) as progress:
        built = build(adapted, [images], arguments.out, progress, gate)
    held_out = arguments.data / "held_out"
    scenes.draw(scenes.HELD_OUT, held_out, arguments.workers, lambda *_: None)
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
    samples, raws = scoring.detect(graph, spec, data)
    views, by_view = np.array(scenes.views(scenes.HELD_OUT)), dict[str, float]()
    for view in sorted(set(views.tolist())):
        of_view = np.flatnonzero(views == view)
        found = scoring.judge(
            [samples[i] for i in of_view], [raws[i] for i in of_view], data.labels
        )
        by_view[view] = round(found.ap, 4)
    return {**scoring.judge(samples, raws, data.labels).summary(), "map50_95_by_view": by_view}


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
    file, size_wh, proposals = MODELS[arguments.network]
    return Order(
        model=arguments.run / file,
        name=f"shelf-{arguments.network}",
        version=arguments.version_,
        family=None,
        labels=arguments.run / LABELS_FILE,
        size_wh=size_wh,
        iou=None,
        anchors=(),
        proposals=proposals,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m engines.zoo.build", description=__doc__)
    parser.add_argument("network", choices=tuple(MODELS))
    parser.add_argument("--run", type=Path, required=True, help="what engines.zoo.train wrote")
    parser.add_argument("--data", type=Path, default=Path("shelf-world"), help="as in training")
    parser.add_argument("--out", type=Path, required=True, help="the bundle's directory")
    parser.add_argument(
        "--runtime", choices=("auto", "onnxruntime"), default="auto",
        help="onnxruntime: no graph for TensorRT",
    )  # fmt: skip
    parser.add_argument("--version", dest="version_", default="1.0.0", metavar="V")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    return parser


if __name__ == "__main__":
    sys.exit(main())
