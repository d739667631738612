"""The average precision that the float model's own scores promise: what INT8 leaves of it.

Without annotations nobody knows which detection is an object. But a score says how likely it is
one, and average precision is a matter of their order alone: with these chances for truth, float's
order is the best there is, and INT8's can be held to it. So it shows what a shift of confident
scores does not: faint scores that 8 bits scatter, which bring false alarms above true objects.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.detector.agreement import match
from engines.evaluation.accuracy import detections

if TYPE_CHECKING:
    from edge.detections import Detections
    from edge.detector.runtime import RawDetections

_FAINTEST = 0.02
"""Score below which nothing is an object: one in 600 would be."""
_RECALLS = np.linspace(0, 1, 101)
"""At which COCO reads precision."""

Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Promise:
    """What is left of it."""

    objects: float
    """Objects that float's scores promise, all labels together."""
    lost: float
    """Share of the average precision at IoU 0.5 that INT8's order loses, 0..1: mean over labels,
    each counting as many objects as are promised of it."""

    def for_passport(self) -> dict[str, float]:
        """Return plain values, rounded to what they are good for."""
        return {"objects": round(self.objects, 1), "lost": round(self.lost, 5)}


def chance(scores: npt.NDArray[np.float32]) -> Numbers:
    """Return how likely a detection of such a score is an object, 0..1.

    Odds of (2 * s / (1 - s))²: even at 1/3, one in ten at 0.14, nine in ten at 0.6. That lies
    between what was measured with several YOLOs; see calibration/README.md.
    """
    odds = np.square(2.0 * scores / np.maximum(1.0 - scores, 1e-6), dtype=np.float64)
    return np.asarray(odds / (1.0 + odds), np.float64)


def promise(reference: RawDetections, found: RawDetections, size_wh: tuple[int, int]) -> Promise:
    """Hold a graph's outputs to what float's, `reference`, promise on the same frames."""
    rows: dict[int, list[tuple[Numbers, Numbers, Numbers]]] = defaultdict(list)
    sides = (detections(reference, size_wh), detections(found, size_wh))
    for by_float, by_int8 in zip(*sides, strict=True):
        one, other = by_float.where(_heard(by_float)), by_int8.where(_heard(by_int8))
        chances = chance(one.scores)
        true = np.zeros(len(other))
        for row, column, _ in match(one, other):
            true[column] = chances[row]
        for label in np.union1d(one.labels, other.labels).tolist():
            ours, theirs = one.labels == label, other.labels == label
            rows[label].append((chances[ours], true[theirs], other.scores[theirs]))
    labels = [tuple(map(np.concatenate, zip(*found, strict=True))) for found in rows.values()]
    losses = [(chances.sum(), _lost(chances, true, scores)) for chances, true, scores in labels]
    objects = float(sum(count for count, _ in losses))
    lost = sum(count * loss for count, loss in losses) / objects if objects else 0.0
    return Promise(objects, float(lost))


def _heard(found: Detections) -> npt.NDArray[np.bool_]:
    return np.asarray(found.scores >= _FAINTEST, np.bool_)


def _lost(chances: Numbers, true: Numbers, scores: Numbers) -> float:
    """Return the share of a label's average precision that another order of scores loses.

    `chances` are those of float's detections; `true` those of INT8's, 0 where float has none, and
    `scores` what INT8 gives them.
    """
    total = chances.sum()
    if not total:
        return 0.0
    best = _average(np.sort(chances)[::-1], total)
    return 1 - _average(true[np.argsort(-scores, kind="stable")], total) / best


def _average(true: Numbers, total: float) -> float:
    """Return the average precision of detections in this order, as COCO interpolates it."""
    hits = np.cumsum(true)
    precision = np.maximum.accumulate((hits / np.arange(1, len(true) + 1))[::-1])[::-1]
    # The last recalls of a sum of chances may miss 1 by rounding.
    places = np.searchsorted(hits / total, _RECALLS - 1e-9)
    return float(np.append(precision, 0.0)[places].mean())
