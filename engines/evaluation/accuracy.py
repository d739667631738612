"""What a graph detects on frames, and how that agrees with the float model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.agreement import Agreement, agreement
from edge.detector.bundle import Thresholds
from edge.detector.detector import decode
from edge.detector.golden import THRESHOLD_SLACK
from edge.detector.letterbox import Placement
from edge.detector.onnxruntime import OnnxRuntime
from edge.detector.runtime import RawDetections

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from edge.detections import Detections
    from edge.frame import Image

    Pairs = Sequence[tuple[Detections, Detections]]

THRESHOLD = Thresholds().default
CONFIDENT = 0.5
"""From this score on a detection is one that people rely on."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What becomes of the detections of a certain score, in both directions.

    A detection is followed where the other graph has one of the same label and IoU >= 0.5, of a
    score that may be somewhat lower: one that slips just below the threshold is a shift, no loss.
    """

    reference: int
    """Detections of the float model …"""
    kept: int
    """… and how many of these the graph has."""
    found: int
    """Detections of the graph …"""
    expected: int
    """… and how many of these the float model has."""
    score_shift: float
    """Mean absolute difference of scores, over the kept ones."""
    iou: float
    """Mean over the kept ones."""

    @property
    def lost(self) -> int:
        """Detections of the float model that the graph does not have."""
        return self.reference - self.kept

    @property
    def phantom(self) -> int:
        """Detections of the graph that the float model does not have."""
        return self.found - self.expected


@dataclass(frozen=True, slots=True)
class Grade:
    """A graph against the float model, on the same frames."""

    agreement: Agreement
    """Of everything that scores at least `THRESHOLD` on either side."""
    every: Followed
    """What scores at least `THRESHOLD`; the other may have `THRESHOLD_SLACK` less."""
    confident: Followed
    """What scores at least `CONFIDENT`; the other must have `THRESHOLD`."""


def run_graph(
    graph: onnx.ModelProto, frames: Sequence[Image], told: Callable[[int, int], None]
) -> RawDetections:
    """Run a contract graph on letterboxed frames, one by one; return the G frames' outputs."""
    height, width, _ = frames[0].shape
    outputs = []
    with OnnxRuntime(graph.SerializeToString(), (height, width, 3)) as runtime:
        for number, raw in enumerate(runtime.infer_each(frames)):
            told(number, len(frames))
            outputs.append(raw)
    return RawDetections(
        np.concatenate([raw.boxes for raw in outputs]),
        np.concatenate([raw.scores for raw in outputs]),
        np.concatenate([raw.labels for raw in outputs]),
    )


def detections(raw: RawDetections, size_wh: tuple[int, int]) -> list[Detections]:
    """Return each frame's detections, in pixels of the network input."""
    whole = Placement(size_wh, (1.0, 1.0), (0, 0), size_wh)
    return [decode(raw, index, whole, 0.0) for index in range(len(raw.scores))]


def grade(reference: RawDetections, found: RawDetections, size_wh: tuple[int, int]) -> Grade:
    """Hold a graph's outputs to the float model's on the same frames."""
    return _grade(_pairs(reference, found, size_wh))


def grade_by_label(
    reference: RawDetections, found: RawDetections, size_wh: tuple[int, int]
) -> dict[int, Grade]:
    """Do so for each label that either has at `THRESHOLD`."""
    pairs = _pairs(reference, found, size_wh)
    labels = {
        int(label)
        for pair in pairs
        for side in pair
        for label in np.unique(side.labels[side.scores >= THRESHOLD])
    }
    return {
        label: _grade([(r.where(r.labels == label), f.where(f.labels == label)) for r, f in pairs])
        for label in sorted(labels)
    }


def _pairs(reference: RawDetections, found: RawDetections, size_wh: tuple[int, int]) -> Pairs:
    sides = (detections(reference, size_wh), detections(found, size_wh))
    return list(zip(*sides, strict=True))


def _grade(pairs: Pairs) -> Grade:
    return Grade(
        agreement(pairs, THRESHOLD),
        every=_followed(pairs, THRESHOLD, THRESHOLD - THRESHOLD_SLACK),
        confident=_followed(pairs, CONFIDENT, THRESHOLD),
    )


def _followed(pairs: Pairs, score: float, floor: float) -> Followed:
    there = agreement([(_from(r, score), f) for r, f in pairs], floor)
    back = agreement([(r, _from(f, score)) for r, f in pairs], floor)
    return Followed(
        reference=there.reference,
        kept=there.matched,
        found=back.found,
        expected=back.matched,
        score_shift=there.mean_score_shift,
        iou=there.mean_iou,
    )


def _from(found: Detections, score: float) -> Detections:
    return found.where(found.scores >= score)


def for_passport(result: Grade, labels: Mapping[str, Grade]) -> dict[str, Any]:
    """Return a grade as plain values, rounded to what they are good for."""
    agreed = result.agreement
    values = {**asdict(agreed), "recall": agreed.recall, "precision": agreed.precision}
    return {
        **{key: round(value, 5) for key, value in values.items()},
        "confident": _rounded(asdict(result.confident)),
        "every": _rounded(asdict(result.every)),
        "labels": {
            name: {
                "reference": of_label.agreement.reference,
                "matched": of_label.agreement.matched,
                "found": of_label.agreement.found,
                "confident": of_label.confident.reference,
                "confident_kept": of_label.confident.kept,
                "confident_score_shift": round(of_label.confident.score_shift, 5),
            }
            for name, of_label in labels.items()
        },
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 5) for key, value in values.items()}
