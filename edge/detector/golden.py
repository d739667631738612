"""The golden frames of a bundle: what each of its graphs detected when it was built.

`golden.npz` holds `frames`, uint8 (G, H, W, 3), letterboxed, and for every graph of the bundle and
for the float model `PART:boxes` float32 (G, K, 4), `PART:scores` float32 (G, K) and
`PART:labels` int32 (G, K), as the contract's outputs; PART is a file name of the bundle or `float`.
"""

from __future__ import annotations

import time
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.detections import Detections
from edge.errors import BundleError

from .agreement import Agreement, agreement
from .bundle import GOLDEN
from .runtime import RawDetections

if TYPE_CHECKING:
    from .bundle import Bundle
    from .runtime import Runtime

FLOAT = "float"
THRESHOLD_SLACK = 0.1
"""A golden detection may slip this far below the threshold before it counts as lost."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Frames, uint8 (G, H, W, 3), and the detections that one graph gave on them at the build."""

    frames: npt.NDArray[np.uint8]
    expected: RawDetections


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """What a runtime detected on the golden frames, against what it should have."""

    frames: int
    kept: float
    """Share of the expected detections that were found."""
    phantom: float
    """Share of the found detections that nobody expected."""
    agreement: Agreement
    milliseconds: float
    """Median time of one inference."""


def load_golden(bundle: Bundle, part: str) -> Golden:
    """Read the golden frames and what `part` detected on them; raises `BundleError`."""
    path = bundle.file(GOLDEN)
    try:
        with np.load(path, allow_pickle=False) as archive:
            expected = RawDetections(
                *(archive[f"{part}:{name}"] for name in ("boxes", "scores", "labels"))
            )
            frames = archive["frames"]
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BundleError(
            f"{path}: cannot read the golden detections of {part}: {error}",
            "build the bundle again with edge-build-engine",
        ) from error
    spec = bundle.passport.input
    if frames.dtype != np.uint8 or frames.shape[1:] != (spec.height, spec.width, 3):
        raise BundleError(
            f"{path}: frames: expected uint8 (G, {spec.height}, {spec.width}, 3), "
            f"found {frames.dtype} {frames.shape}",
            "build the bundle again with edge-build-engine",
        )
    return Golden(frames, expected)


def hold_to_golden(bundle: Bundle, runtime: Runtime, part: str) -> GoldenResult:
    """Run the golden frames on the runtime that will serve; raise `BundleError` if it fails."""
    golden = load_golden(bundle, part)
    threshold = bundle.passport.thresholds.default
    pairs, times = [], []
    for index in range(len(golden.frames)):
        started = time.perf_counter()
        raw = runtime.infer(golden.frames[index : index + 1])
        times.append(time.perf_counter() - started)
        pairs.append((_slots(golden.expected, index), _slots(raw, 0)))
    _require_names(bundle, [found for _, found in pairs])
    result = GoldenResult(
        frames=len(pairs),
        kept=agreement([(r, _near(f, threshold)) for r, f in pairs], threshold).recall,
        phantom=1 - agreement([(_near(r, threshold), f) for r, f in pairs], threshold).precision,
        agreement=agreement(pairs, threshold),
        milliseconds=float(np.median(times) * 1e3),
    )
    _judge(bundle, runtime, result)
    return result


def _require_names(bundle: Bundle, found: list[Detections]) -> None:
    named = len(bundle.labels)
    most = max((int(one.labels.max()) + 1 for one in found if len(one)), default=0)
    if most > named:
        raise BundleError(
            f"{bundle.path}: its passport names {named} labels, its model detects at least {most}",
            "give every label its name again, in the model's order; what shall not count is left "
            "out in an aisle's labels",
        )


def _near(found: Detections, threshold: float) -> Detections:
    """Lift what lies within the slack below the threshold onto it."""
    lifted = (found.scores < threshold) & (found.scores >= threshold - THRESHOLD_SLACK)
    scores = np.where(lifted, np.float32(threshold), found.scores)
    return Detections(found.xyxy, scores, found.labels)


def _slots(raw: RawDetections, index: int) -> Detections:
    used = raw.scores[index] > 0
    return Detections(raw.boxes[index][used], raw.scores[index][used], raw.labels[index][used])


def _judge(bundle: Bundle, runtime: Runtime, result: GoldenResult) -> None:
    allowed, seen = bundle.passport.tolerance, result.agreement
    faults = [
        f"{what} {found:.3f}, allowed {limit}"
        for what, found, limit, good in (
            ("golden detections kept", result.kept, allowed.kept, result.kept >= allowed.kept),
            ("unexpected", result.phantom, 1 - allowed.kept, result.phantom <= 1 - allowed.kept),
            ("mean IoU", seen.mean_iou, allowed.mean_iou, seen.mean_iou >= allowed.mean_iou),
            (
                "mean score shift",
                seen.mean_score_shift,
                allowed.mean_score_shift,
                seen.mean_score_shift <= allowed.mean_score_shift,
            ),
        )
        if not good
    ]
    if faults:
        raise BundleError(
            f"bundle {bundle.path} fails its golden on {runtime.describe()}: {'; '.join(faults)}",
            "this machine does not detect what the build machine did: build the bundle again, "
            "and do not put this one into service",
        )
