"""How well two sets of detections of the same frames agree: the measure of golden and of INT8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edge.detections import Detections, Xyxy

SAME_OBJECT_IOU = 0.5


@dataclass(frozen=True, slots=True)
class Agreement:
    """Found detections against reference detections, over any number of frames.

    A pair has the same label and IoU >= 0.5, matched greedily by IoU.
    """

    reference: int
    found: int
    matched: int
    mean_iou: float
    """Over matched pairs; 1 when there is none."""
    mean_corner_shift_px: float
    """Mean absolute difference of the four coordinates, in the boxes' pixels."""
    mean_score_shift: float
    """Mean absolute difference of scores."""
    mean_score_bias: float
    """Mean of found minus reference score."""

    @property
    def recall(self) -> float:
        """Share of the reference detections that were found; 1 when there is none."""
        return self.matched / self.reference if self.reference else 1.0

    @property
    def precision(self) -> float:
        """Share of the found detections that are in the reference; 1 when none was found."""
        return self.matched / self.found if self.found else 1.0


def iou_matrix(a: Xyxy, b: Xyxy) -> npt.NDArray[np.float32]:
    """Return the IoU of every box of `a` (N, 4) with every box of `b` (M, 4): float32 (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a = np.prod(np.clip(a[:, 2:] - a[:, :2], 0, None), axis=1)
    area_b = np.prod(np.clip(b[:, 2:] - b[:, :2], 0, None), axis=1)
    union = area_a[:, None] + area_b[None, :] - shared
    iou: npt.NDArray[np.float32] = (shared / np.maximum(union, 1e-9)).astype(np.float32)
    return iou


def match(reference: Detections, found: Detections) -> list[tuple[int, int, float]]:
    """Pair detections of one frame: (reference index, found index, IoU), best IoU first."""
    iou = iou_matrix(reference.xyxy, found.xyxy)
    iou[reference.labels[:, None] != found.labels[None, :]] = 0
    pairs: list[tuple[int, int, float]] = []
    rows, columns = np.nonzero(iou >= SAME_OBJECT_IOU)
    order = np.argsort(-iou[rows, columns], kind="stable")
    used_rows: set[int] = set()
    used_columns: set[int] = set()
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column, float(iou[row, column])))
    return pairs


def agreement(frames: Iterable[tuple[Detections, Detections]], threshold: float) -> Agreement:
    """Hold found detections to reference ones: an iterable of (reference, found), one per frame.

    Only what scores at least `threshold` counts, on either side: a detection that INT8 pushed
    below it is lost, however narrowly.
    """
    reference_count = found_count = 0
    ious: list[float] = []
    corners: list[float] = []
    scores: list[float] = []
    for reference_all, found_all in frames:
        reference = reference_all.where(reference_all.scores >= threshold)
        found = found_all.where(found_all.scores >= threshold)
        reference_count += len(reference)
        found_count += len(found)
        for r, f, iou in match(reference, found):
            ious.append(iou)
            corners.append(float(np.abs(reference.xyxy[r] - found.xyxy[f]).mean()))
            scores.append(float(found.scores[f] - reference.scores[r]))
    shift = np.array(scores)
    return Agreement(
        reference=reference_count,
        found=found_count,
        matched=len(ious),
        mean_iou=float(np.mean(ious)) if ious else 1.0,
        mean_corner_shift_px=float(np.mean(corners)) if corners else 0.0,
        mean_score_shift=float(np.abs(shift).mean()) if scores else 0.0,
        mean_score_bias=float(shift.mean()) if scores else 0.0,
    )
