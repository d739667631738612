"""`python -m engines.zoo.scoring BUNDLE --data DIR`: how well a detector finds what is true.

mAP is COCO's own (pycocotools, IoU 0.50 to 0.95, at most 100 detections a frame), in pixels of the
network's input. Boxes that are too small there (`dataset.MIN_SIDE_PX`) are ignored, as COCO
ignores crowds: neither to be found nor wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edge.capture.shelf_world.splits import GRID
from edge.detector.bundle import PORTABLE_GRAPH, Thresholds, load_bundle
from edge.detector.onnxruntime import OnnxRuntime
from edge.tools import amounts
from engines.zoo import command
from engines.zoo.dataset import Dataset, fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detector.bundle import InputSpec
    from edge.detector.runtime import RawDetections
    from engines.zoo.dataset import Sample

_LEAST = 0.001
"""Lowest score that COCO gets to see."""
_MATCH_IOU = 0.5

Map = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Score:
    """What a detector reaches on a dataset."""

    frames: int
    things: int
    ap: float
    """mAP50-95."""
    ap50: float
    by_label: dict[str, float]
    """AP50-95; a label without a thing is left out."""
    found: npt.NDArray[np.int64]
    """(rows, columns) of the picture's cells: things with their centre there, found at IoU 0.5 with
    the right label at the bundle's default threshold."""
    there: npt.NDArray[np.int64]
    """(rows, columns): all things with their centre there."""

    def recall(self) -> Map:
        """Return the share found in each cell, NaN where nothing ever stood."""
        return np.where(self.there > 0, self.found / np.maximum(self.there, 1), np.nan)

    def summary(self) -> dict[str, Any]:
        """Return it as JSON takes it."""
        return {
            "frames": self.frames,
            "things": self.things,
            "map50_95": round(self.ap, 4),
            "map50": round(self.ap50, 4),
            "by_label": {label: round(value, 4) for label, value in self.by_label.items()},
            "recall": round(float(self.found.sum() / max(1, self.there.sum())), 4),
            "recall_by_cell": self.recall().round(3).tolist(),
            "things_by_cell": self.there.tolist(),
        }


def score(graph: Path | bytes, spec: InputSpec, data: Dataset, threads: int = 2) -> Score:
    """Run a contract graph over a dataset and hold it to what is true."""
    return judge(*detect(graph, spec, data, threads), data.labels)


def detect(
    graph: Path | bytes, spec: InputSpec, data: Dataset, threads: int = 2
) -> tuple[list[Sample], list[RawDetections]]:
    """Return the frames as the network sees them, and what it finds in each."""
    shape = (spec.height, spec.width, 3)
    samples, raws = [], []
    with OnnxRuntime(graph, shape, threads) as runtime:
        for number in range(len(data)):
            sample = fitted(data[number], spec.resolution_wh, centred=spec.letterbox == "centered")
            samples.append(sample)
            raws.append(runtime.infer(sample.image[None]))
    return samples, raws


def judge(samples: list[Sample], raws: list[RawDetections], labels: tuple[str, ...]) -> Score:
    """Hold detections, one batch of one frame each, to what is true."""
    precision = _coco_precision(samples, raws, labels)
    by_label = {
        label: float(values[values > -1].mean())
        for label, values in zip(labels, np.moveaxis(precision, 2, 0), strict=True)
        if (values > -1).any()
    }
    half = precision[0]
    rows, columns = GRID[1], GRID[0]
    found, there = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    for sample, raw in zip(samples, raws, strict=True):
        _count_cells(sample, raw, found, there)
    return Score(
        frames=len(samples),
        things=sum(len(one.boxes) for one in samples),
        ap=float(np.mean(list(by_label.values()))) if by_label else 0.0,
        ap50=float(half[half > -1].mean()) if (half > -1).any() else 0.0,
        by_label=by_label,
        found=found,
        there=there,
    )


def judge_by_view(
    samples: list[Sample],
    raws: list[RawDetections],
    views: Sequence[str],
    labels: tuple[str, ...],
) -> dict[str, Score]:
    """Return the score of each view's frames for themselves, views in alphabetical order."""
    kept = {one: [n for n, view in enumerate(views) if view == one] for one in sorted(set(views))}
    return {
        view: judge([samples[n] for n in of], [raws[n] for n in of], labels)
        for view, of in kept.items()
    }


def _coco_precision(
    samples: list[Sample], raws: list[RawDetections], labels: tuple[str, ...]
) -> Map:
    """Return COCO's precision at IoU (10), recall (101) and label."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, found = COCO(), COCO()
    images = [{"id": number + 1} for number in range(len(samples))]
    categories = [{"id": number + 1, "name": label} for number, label in enumerate(labels)]
    truth.dataset = _dataset(images, categories, _true(samples))
    found.dataset = _dataset(images, categories, _found(raws))
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        found.createIndex()
        evaluation = COCOeval(truth, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    every_size, hundred = 0, -1
    return np.asarray(evaluation.eval["precision"][:, :, :, every_size, hundred])


def _dataset(
    images: list[dict[str, Any]], categories: list[dict[str, Any]], rows: list[dict[str, Any]]
) -> dict[str, Any]:
    for number, row in enumerate(rows, 1):
        row["id"] = number
        row["area"] = row["bbox"][2] * row["bbox"][3]
    return {"info": {}, "images": images, "categories": categories, "annotations": rows}


def _true(samples: list[Sample]) -> list[dict[str, Any]]:
    return [
        {"image_id": number, "category_id": int(label) + 1, "bbox": _xywh(box), "iscrowd": crowd}
        for number, sample in enumerate(samples, 1)
        for boxes, labels, crowd in (
            (sample.boxes, sample.labels, 0),
            (sample.ignored, sample.ignored_labels, 1),
        )
        for box, label in zip(boxes, labels, strict=True)
    ]


def _found(raws: list[RawDetections]) -> list[dict[str, Any]]:
    return [
        {
            "image_id": number,
            "category_id": int(label) + 1,
            "bbox": _xywh(box),
            "score": float(value),
            "iscrowd": 0,
        }
        for number, raw in enumerate(raws, 1)
        for box, label, value in zip(raw.boxes[0], raw.labels[0], raw.scores[0], strict=True)
        if value >= _LEAST
    ]


def _xywh(box: npt.NDArray[np.float32]) -> list[float]:
    left, top, right, bottom = (float(v) for v in box)
    return [left, top, right - left, bottom - top]


def _count_cells(
    sample: Sample,
    raw: RawDetections,
    found: npt.NDArray[np.int64],
    there: npt.NDArray[np.int64],
) -> None:
    """Add a frame's things to the cells of the frame that their centres are in."""
    if not len(sample.boxes):
        return
    sure = raw.scores[0] >= Thresholds().default
    hits = _matched(sample, raw.boxes[0][sure], raw.labels[0][sure])
    height, width = sample.image.shape[:2]
    centres = (sample.boxes[:, :2] + sample.boxes[:, 2:]) / 2
    inside = centres / np.array([width, height])
    columns, rows = (np.clip(inside * GRID, 0, np.array(GRID) - 1)).astype(int).T
    np.add.at(there, (rows, columns), 1)
    np.add.at(found, (rows[hits], columns[hits]), 1)


def _matched(
    sample: Sample, boxes: npt.NDArray[np.float32], labels: npt.NDArray[np.int32]
) -> npt.NDArray[np.bool_]:
    """Return which true things are found; a detection finds one thing, best score first."""
    hits = np.zeros(len(sample.boxes), np.bool_)
    for box, label in zip(boxes, labels, strict=True):
        low = np.maximum(sample.boxes[:, :2], box[:2])
        high = np.minimum(sample.boxes[:, 2:], box[2:])
        common = np.prod(np.maximum(high - low, 0), axis=1)
        areas = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
        overlap = common / (areas + np.prod(box[2:] - box[:2]) - common)
        overlap[hits | (sample.labels != label)] = 0
        best = int(overlap.argmax())
        if overlap[best] >= _MATCH_IOU:
            hits[best] = True
    return hits


def main(argv: Sequence[str] | None = None) -> int:
    """Print a bundle's score as JSON; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m engines.zoo.scoring", description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="COCO folders")
    parser.add_argument("--threads", type=amounts.count, default=2)
    return command.ended("scoring", partial(_run, parser.parse_args(argv)))


def _run(arguments: argparse.Namespace) -> None:
    bundle = load_bundle(arguments.bundle)
    graph, spec = bundle.file(PORTABLE_GRAPH), bundle.passport.input
    found = score(graph, spec, Dataset(arguments.data), arguments.threads)
    print(json.dumps(found.summary(), indent=1))


if __name__ == "__main__":
    sys.exit(main())
