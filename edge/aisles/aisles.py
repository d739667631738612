"""All aisles of a device: which detections belong where, what to tell, and how often."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from .aisle import Aisle
from .observation import AisleObservation
from .whereabouts import OutOfView
from .zones import zones_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from edge.capture.status import CameraStatus
    from edge.config import Config
    from edge.detections import Detections
    from edge.detector.bundle import Thresholds
    from edge.frame import FrameStamp

    from .aisle import Essence
    from .observation import AisleState
    from .zones import Zone


_CLOCK_SET = timedelta(seconds=1)
"""Clocks that come apart by more than this between two looks were set; less is their drift."""


class Rate:
    """Lets `per_second` through, on average and without drift; 0 lets nothing through."""

    _BURST = 1.5
    """A frame that comes a little late must not cost the next one its turn."""

    def __init__(self, per_second: float) -> None:
        self._per_second = per_second
        self._allowance = 1.0
        self._last: float | None = None

    def due(self, monotonic_s: float) -> bool:
        """Return whether something may go at this moment, and count it if so."""
        elapsed = 0.0 if self._last is None else monotonic_s - self._last
        self._last = monotonic_s
        self._allowance = min(self._BURST, self._allowance + elapsed * self._per_second)
        if self._per_second == 0 or self._allowance < 1 - 1e-6:
            return False
        self._allowance -= 1
        return True


class Aisles:
    """Frames' detections and cameras' health in, what to publish out.

    Owned by one thread, but for `zones`, which any thread may read, and one may change.
    """

    def __init__(self, config: Config, labels: Sequence[str], thresholds: Thresholds) -> None:
        self._zones: Mapping[str, tuple[Zone, ...]] = {
            c.name: zones_of(c, labels, thresholds) for c in config.cameras
        }
        self._configured = self._zones
        seen_by: dict[str, list[str]] = {}
        for camera, zones in self._zones.items():
            for zone in zones:
                if camera not in seen_by.setdefault(zone.aisle, []):
                    seen_by[zone.aisle].append(camera)
        self._aisles = {
            aisle: Aisle(aisle, cameras, labels, config.publish.hysteresis_s)
            for aisle, cameras in seen_by.items()
        }
        self._rates = {
            (camera, zone.aisle): Rate(config.publish.detections_per_second)
            for camera, zones in self._zones.items()
            for zone in zones
        }
        self._moving = {
            camera.name: OutOfView(config.publish.hysteresis_s)
            for camera in config.cameras
            if camera.aisles_by is not None
        }
        self._heartbeat_s = config.publish.state_heartbeat_s
        self._told: dict[str, tuple[float, Essence]] = {}
        self._clocks: tuple[float, datetime] | None = None

    @property
    def zones(self) -> Mapping[str, tuple[Zone, ...]]:
        """Every camera's zones, as they count now."""
        return self._zones

    def count_from(self, threshold: float | None, aisle: str | None, label: int | None) -> None:
        """Let scores count from `threshold` on, beginning with the next frame.

        No threshold: the configured one. No aisle, no label: all of them.
        """
        self._zones = {
            camera: tuple(
                zone
                if aisle not in {None, zone.aisle}
                else zone.counting_from(
                    configured.lowest if threshold is None else np.float32(threshold), label
                )
                for zone, configured in zip(zones, self._configured[camera], strict=True)
            )
            for camera, zones in self._zones.items()
        }

    @property
    def floor(self) -> float:
        """The lowest score that counts anywhere: detections below it are nobody's business."""
        return min(float(z.lowest.min()) for zones in self._zones.values() for z in zones)

    def observe(self, stamp: FrameStamp, detections: Detections) -> list[AisleObservation]:
        """Take one frame's detections; return the observations that are due to be published.

        A blind frame says nothing of what stands there: its detections are not looked at.
        """
        if stamp.blindness is not None:
            return []
        due = []
        for zone in self._in_view(stamp):
            mine = zone.select(detections, stamp.resolution_wh)
            self._aisles[zone.aisle].see(stamp.camera, stamp.monotonic_s, mine)
            if self._rates[stamp.camera, zone.aisle].due(stamp.monotonic_s):
                due.append(AisleObservation(zone.aisle, stamp, mine, zone.corners))
        return due

    def _in_view(self, stamp: FrameStamp) -> Sequence[Zone]:
        """Return the zones that a frame shows; a moving camera's other aisles are told why not."""
        zones = self._zones[stamp.camera]
        if (moving := self._moving.get(stamp.camera)) is None:
            return zones
        for aisle, why in moving.reasons(stamp, (zone.aisle for zone in zones)):
            self._aisles[aisle].blind(stamp.camera, why)
        return [zone for zone in zones if zone.aisle == stamp.aisle]

    def states(
        self, cameras: Iterable[CameraStatus], monotonic_s: float, now: datetime
    ) -> list[AisleState]:
        """Take the cameras' health; return the states that changed or whose heartbeat is due.

        `monotonic_s` and `now`, UTC, are the same moment on two clocks: where they disagree on how
        long it was since the last call, the wall clock was set (a device without a battery for it
        begins in 1970), and what states say of the past is moved with it.
        """
        self._follow_the_clock(monotonic_s, now)
        for status in cameras:
            if status.blindness is not None:
                for zone in self._zones[status.camera]:
                    self._aisles[zone.aisle].blind(status.camera, status.blindness)
        due = []
        for aisle in self._aisles.values():
            essence = aisle.essence()
            told_s, told = self._told.get(aisle.id, (-math.inf, None))
            if essence != told or monotonic_s - told_s >= self._heartbeat_s:
                self._told[aisle.id] = (monotonic_s, essence)
                due.append(aisle.state(now))
        return due

    def _follow_the_clock(self, monotonic_s: float, now: datetime) -> None:
        if self._clocks is not None:
            then_s, then = self._clocks
            set_by = now - then - timedelta(seconds=monotonic_s - then_s)
            if abs(set_by) > _CLOCK_SET:
                for aisle in self._aisles.values():
                    aisle.set_clock(set_by)
        self._clocks = (monotonic_s, now)
