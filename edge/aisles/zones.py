"""Which aisle an object stands in: polygons per camera, an anchor point, labels and thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.config import AisleView, CameraConfig
    from edge.detections import Detections
    from edge.detector.bundle import Thresholds

_INSIDE = np.nextafter(1.0, 0.0)


def inside(
    points: npt.NDArray[np.float64], polygon: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    """Return for each point (N, 2) whether it lies in the polygon (M, 2): even-odd rule.

    Left and upper edges belong to the polygon, right and lower ones do not, so zones that share an
    edge never share a point. Points on the frame's right or lower border count as just inside it.
    """
    x, y = np.clip(points, 0.0, _INSIDE).T[:, :, np.newaxis]
    (x1, y1), (x2, y2) = polygon.T, np.roll(polygon, -1, axis=0).T
    crosses = (y1 > y) != (y2 > y)
    # From the upper end, whichever way the polygon goes: two that share an edge round it alike.
    down = y1 <= y2
    (xa, xb), (ya, yb) = np.where(down, (x1, x2), (x2, x1)), np.where(down, (y1, y2), (y2, y1))
    with np.errstate(divide="ignore", invalid="ignore"):
        left_of = x < (xb - xa) * (y - ya) / (yb - ya) + xa
    odd: npt.NDArray[np.bool_] = np.count_nonzero(crosses & left_of, axis=1) % 2 == 1
    return odd


def anchors(
    detections: Detections, resolution_wh: tuple[int, int], anchor: str
) -> npt.NDArray[np.float64]:
    """Return where each object stands, float64 (N, 2), as fractions of the frame."""
    left, top, right, bottom = detections.xyxy.astype(np.float64).T
    y = bottom if anchor == "bottom-center" else (top + bottom) / 2
    points: npt.NDArray[np.float64] = np.stack([(left + right) / 2, y], axis=1) / resolution_wh
    return points


@dataclass(frozen=True, slots=True)
class Zone:
    """One aisle in one camera's picture, with what counts there.

    `lowest` is float32 (number of labels,): the score from which each label counts; a label that
    does not count here has infinity.
    """

    aisle: str
    corners: tuple[tuple[float, float], ...]
    anchor: str
    lowest: npt.NDArray[np.float32]
    _polygon: npt.NDArray[np.float64] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_polygon", np.array(self.corners, np.float64))

    def select(self, detections: Detections, resolution_wh: tuple[int, int]) -> Detections:
        """Return the detections that stand in this zone and count here."""
        return detections.where(self.counted(detections, resolution_wh))

    def counted(
        self, detections: Detections, resolution_wh: tuple[int, int]
    ) -> npt.NDArray[np.bool_]:
        """Return, bool (N,), which detections stand in this zone and count here."""
        stands = inside(anchors(detections, resolution_wh, self.anchor), self._polygon)
        counts: npt.NDArray[np.bool_] = detections.scores >= self.lowest[detections.labels]
        return stands & counts

    def counting_from(
        self, lowest: npt.NDArray[np.float32] | np.float32, label: int | None
    ) -> Zone:
        """Return this zone with other thresholds; None: for every label that counts here."""
        chosen = np.isfinite(self.lowest)
        if label is not None:
            chosen &= np.arange(len(self.lowest)) == label
        return replace(self, lowest=np.where(chosen, lowest, self.lowest))


def zones_of(
    camera: CameraConfig, labels: Sequence[str], thresholds: Thresholds
) -> tuple[Zone, ...]:
    """Return a camera's zones; raises `ConfigError` for a label that the bundle does not know."""
    return tuple(
        Zone(view.id, view.zone, view.anchor, _lowest(view, camera.name, labels, thresholds))
        for view in camera.aisles
    )


def _lowest(
    view: AisleView, camera: str, labels: Sequence[str], thresholds: Thresholds
) -> npt.NDArray[np.float32]:
    per_label = view.threshold if isinstance(view.threshold, dict) else {}
    unknown = sorted({*(view.labels or ()), *per_label} - set(labels))
    if unknown:
        raise ConfigError(
            [
                f"camera {camera}: aisle {view.id}: label {name!r} is not one of the bundle's: "
                f"{', '.join(labels)}"
                for name in unknown
            ]
        )
    everywhere = view.threshold if isinstance(view.threshold, float) else None
    lowest = [
        per_label.get(
            name,
            thresholds.labels.get(name, thresholds.default) if everywhere is None else everywhere,
        )
        for name in labels
    ]
    counts = np.array([view.labels is None or name in view.labels for name in labels])
    return np.where(counts, np.array(lowest, np.float32), np.float32(np.inf))
