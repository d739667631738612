"""One aisle: the windows of its cameras, brought together into one state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.frame import Blindness

from .observation import AisleState, CameraView, LastSeen
from .window import Window

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from edge.detections import Detections

    from .window import Counts


Essence = tuple[tuple[Blindness | None, bytes | None], ...]


class _Eye:
    """One camera of an aisle: what it saw lately, and why it may not see."""

    def __init__(self, labels: int, hysteresis_s: float) -> None:
        self.window = Window(labels, hysteresis_s)
        self._blindness: Blindness | None = Blindness.STARTING

    @property
    def blindness(self) -> Blindness | None:
        """Why it does not count; it counts again only once its window is filled."""
        return self._blindness if self.window.settled is None else None

    def blind(self, why: Blindness) -> None:
        self._blindness = why
        self.window.clear()


class Aisle:
    """Frames of its cameras in, its settled state out."""

    def __init__(
        self, aisle: str, cameras: Sequence[str], labels: Sequence[str], hysteresis_s: float
    ) -> None:
        self.id = aisle
        self._labels = np.array(labels, dtype=object)
        self._eyes = {camera: _Eye(len(labels), hysteresis_s) for camera in cameras}
        self._state: AisleState | None = None

    def see(self, camera: str, monotonic_s: float, detections: Detections) -> None:
        """Take the aisle's objects in one frame of a camera that sees."""
        self._eyes[camera].window.add(monotonic_s, detections.labels, detections.scores)

    def blind(self, camera: str, why: Blindness) -> None:
        """Note that a camera cannot see."""
        self._eyes[camera].blind(why)

    def essence(self) -> Essence:
        """Return what makes a state a different one: all but its confidence, which always moves."""
        return tuple(
            (eye.blindness, None if eye.window.settled is None else eye.window.settled.tobytes())
            for eye in self._eyes.values()
        )

    def state(self, now: datetime) -> AisleState:
        """Return the state at `now`, UTC; `since` moves only when what is known changes.

        To be called whenever the `essence` has changed, so that no change of `since` is missed.
        """
        views = tuple(
            CameraView(camera, eye.blindness, self._named(self._counts(eye)))
            for camera, eye in self._eyes.items()
        )
        seeing = [eye for eye in self._eyes.values() if eye.blindness is None]
        unknown = None if seeing else _why(views)
        counts = self._named(np.max([self._counts(eye) for eye in seeing], axis=0, initial=0))
        confidence = _confidence(seeing, self._labels, counts)
        last = self._state
        same = last is not None and (last.unknown, last.counts) == (unknown, counts)
        since = last.since if last is not None and same else now
        seen = None if unknown is None else _last_seen(last, now)
        self._state = AisleState(self.id, since, unknown, counts, confidence, views, seen)
        return self._state

    def set_clock(self, by: timedelta) -> None:
        """Move the times it remembers: the wall clock was set, and they are as long ago as ever."""
        if (last := self._state) is None:
            return
        seen = last.last_seen and replace(last.last_seen, until=last.last_seen.until + by)
        self._state = replace(last, since=last.since + by, last_seen=seen)

    def _counts(self, eye: _Eye) -> Counts:
        settled = eye.window.settled
        return np.zeros(len(self._labels), np.int32) if settled is None else settled

    def _named(self, counts: Counts) -> dict[str, int]:
        return {str(self._labels[i]): int(counts[i]) for i in np.flatnonzero(counts)}


def _why(views: Sequence[CameraView]) -> Blindness | None:
    """Return why nobody sees an aisle: a camera that cannot, rather than one that is elsewhere."""
    reasons = [view.blindness for view in views]
    return next((why for why in reasons if why is not Blindness.OUT_OF_VIEW), reasons[0])


def _last_seen(before: AisleState | None, now: datetime) -> LastSeen | None:
    if before is None:
        return None
    return LastSeen(now, before.counts) if before.unknown is None else before.last_seen


def _confidence(
    seeing: Sequence[_Eye], labels: npt.NDArray[np.object_], counts: dict[str, int]
) -> dict[str, float]:
    if not seeing:
        return {}
    best = np.max([eye.window.confidence() for eye in seeing], axis=0)
    return {
        str(name): round(float(score), 4)
        for name, score in zip(labels, best, strict=True)
        if name in counts
    }
