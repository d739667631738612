"""Mean average precision as pycocotools defines it."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.detector import decode
from edge.errors import PIP, MissingPackage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from edge.detector.runtime import RawDetections
    from engines.evaluation.coco import Truth

POINTS = 100.0
"""A point of mAP is a hundredth."""


@dataclass(frozen=True, slots=True)
class LabelPrecision:
    """One label: average precision 0..1, over IoU 0.50:0.95 and at 0.5, of so many objects."""

    map: float
    ap50: float
    objects: int


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """What a graph scores on annotated images, 0..1; crowds are no objects of their own."""

    map: float
    """Mean over labels and over IoU 0.50:0.05:0.95."""
    ap50: float
    """Mean over labels at IoU 0.5."""
    images: int
    labels: Mapping[int, LabelPrecision]
    """By index; only labels that the images show."""
    curve: npt.NDArray[np.float64]
    """Precision at recall 0, 0.01 … 1, IoU 0.5, mean over labels: float64 (101,)."""

    @property
    def objects(self) -> int:
        """How many objects it rests on."""
        return sum(label.objects for label in self.labels.values())


def average_precision(
    truths: Sequence[Truth], raw: RawDetections, places: Sequence[int]
) -> AveragePrecision | None:
    """Hold frames `places[i]` of a graph's outputs to `truths[i]`; None where nothing is annotated.

    At most 100 detections a frame count, as COCO has it.
    """
    objects = np.concatenate([truth.labels[~truth.crowd] for truth in truths])
    if not len(objects):
        return None
    precision, categories = _evaluate(truths, raw, places)
    labels = {}
    for column, label in enumerate(categories):
        of_label = precision[:, :, column]
        if (count := int((objects == label).sum())) and (of_label > -1).any():
            labels[label] = LabelPrecision(float(of_label.mean()), float(of_label[0].mean()), count)
    shown = [column for column, label in enumerate(categories) if label in labels]
    return AveragePrecision(
        map=float(np.mean([label.map for label in labels.values()])),
        ap50=float(np.mean([label.ap50 for label in labels.values()])),
        images=len(truths),
        labels=labels,
        curve=precision[0][:, shown].mean(axis=1),
    )


def _evaluate(
    truths: Sequence[Truth], raw: RawDetections, places: Sequence[int]
) -> tuple[npt.NDArray[np.float64], list[int]]:
    """Return precision (10 IoUs, 101 recalls, labels), -1 where undefined, and the labels."""
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise MissingPackage(
            f"pycocotools is not installed ({error})", f"{PIP} install 'aisle-edge[build]'"
        ) from error
    # It tells what it does on standard output, which belongs to the command's own words.
    with contextlib.redirect_stdout(io.StringIO()):
        expected, found = COCO(), COCO()
        expected.dataset = _dataset([_truth(i, truth) for i, truth in enumerate(truths)])
        found.dataset = _dataset(
            [_found(i, truth, raw, places[i]) for i, truth in enumerate(truths)]
        )
        expected.dataset["categories"] = found.dataset["categories"] = [
            {"id": int(label)} for label in np.unique(np.concatenate([t.labels for t in truths]))
        ]
        expected.createIndex()
        found.createIndex()
        evaluation = COCOeval(expected, found, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
    precision: npt.NDArray[np.float64] = evaluation.eval["precision"][:, :, :, 0, -1]
    return precision, [int(label) for label in evaluation.params.catIds]


def _dataset(per_image: Sequence[list[dict[str, Any]]]) -> dict[str, list[dict[str, Any]]]:
    items = [item for items in per_image for item in items]
    for number, item in enumerate(items, start=1):  # 0 means "not matched" to pycocotools
        item["id"] = number
    return {"images": [{"id": i} for i in range(len(per_image))], "annotations": items}


def _box(xyxy: npt.NDArray[np.float32]) -> list[float]:
    left, top, right, bottom = (float(side) for side in xyxy)
    return [left, top, right - left, bottom - top]


def _truth(image: int, truth: Truth) -> list[dict[str, Any]]:
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": (box := _box(xyxy)),
            "area": box[2] * box[3],
            "iscrowd": int(crowd),
        }
        for xyxy, label, crowd in zip(truth.xyxy, truth.labels, truth.crowd, strict=True)
    ]


def _found(image: int, truth: Truth, raw: RawDetections, place: int) -> list[dict[str, Any]]:
    seen = decode(raw, place, truth.placement, 0.0)
    return [
        {
            "image_id": image,
            "category_id": int(label),
            "bbox": (box := _box(xyxy)),
            "area": box[2] * box[3],
            "score": float(score),
            "iscrowd": 0,
        }
        for xyxy, score, label in zip(seen.xyxy, seen.scores, seen.labels, strict=True)
    ]
