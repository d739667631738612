"""Which aisle a moving camera looks at: what each frame shows, smoothed over time."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from edge.frame import Blindness

from .classifier import AisleClassifier
from .markers import MarkerReader
from .smoothing import AisleFilter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge.config import AislesBy, CameraConfig
    from edge.frame import Frame, FrameStamp, Image

    from .smoothing import Belief


_SPEAKS_AGAINST = 0.5


class Signs(Protocol):
    """What a frame itself says of the aisle it shows."""

    def likelihood(self, image: Image) -> Belief:
        """Return float64 (aisles + 1,), the last for none of them; all alike: it says nothing."""
        ...


class Whereabouts:
    """Stamps the frames of one moving camera with their aisle, on that camera's thread."""

    def __init__(self, aisles: Iterable[str], signs: Signs, hold_s: float) -> None:
        self._aisles = tuple(aisles)
        self._signs = signs
        self._filter = AisleFilter(len(self._aisles), hold_s)

    def stamped(self, frame: Frame) -> Frame:
        """Return the frame, its stamp saying which aisle it shows."""
        likelihood = self._signs.likelihood(frame.image)
        found = self._filter.see(frame.stamp.monotonic_s, likelihood)
        # A frame that itself shows another aisle is not the believed one's: the first ones of the
        # next aisle are what would be told of the last.
        if found is None or likelihood[found] < _SPEAKS_AGAINST * likelihood.max():
            return frame
        return replace(frame, stamp=replace(frame.stamp, aisle=self._aisles[found]))


def whereabouts_of(camera: CameraConfig) -> Whereabouts | None:
    """Return what finds a moving camera's aisle; None: the camera stands still.

    Raises `MissingPackage` or `BundleError` where it cannot be found on this device.
    """
    by = camera.aisles_by
    if by is None:
        return None
    return Whereabouts([view.id for view in camera.aisles], _signs(camera, by), by.hold_s)


def _signs(camera: CameraConfig, by: AislesBy) -> Signs:
    if by.classifier is not None:
        return AisleClassifier(by.classifier, [view.id for view in camera.aisles])
    if by.markers is not None:
        return MarkerReader(by.markers, [view.markers or () for view in camera.aisles])
    raise ValueError(f"camera {camera.name}: expected markers or a classifier in aisles_by")


class OutOfView:
    """Which aisles a moving camera does not look at, so that nobody takes them for empty.

    A camera that has lost its way for `patience_s` looks at none that we know.
    """

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._last: tuple[str, float] | None = None

    def reasons(self, stamp: FrameStamp, aisles: Iterable[str]) -> Iterator[tuple[str, Blindness]]:
        """Yield each of `aisles` that a frame says is not seen now, and why."""
        if stamp.aisle is not None:
            self._last = (stamp.aisle, stamp.monotonic_s)
        for aisle in aisles:
            why = self._reason(stamp, aisle)
            if why is not None:
                yield aisle, why

    def _reason(self, stamp: FrameStamp, aisle: str) -> Blindness | None:
        if self._last is None:
            return Blindness.AISLE_UNKNOWN
        last, last_s = self._last
        if aisle != last:
            return Blindness.OUT_OF_VIEW
        lost = stamp.aisle is None and stamp.monotonic_s - last_s >= self._patience_s
        return Blindness.AISLE_UNKNOWN if lost else None
