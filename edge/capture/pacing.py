"""Rates: which frames to look at, how many that were, and when to try again."""

from __future__ import annotations

import random
from collections import deque

_ROUNDING_S = 1e-3  # containers round their time stamps to milliseconds


class Budget:
    """Chooses which of a source's pictures to look at: `fps` frames per second, evenly spread.

    Times may be wall or media time, in seconds.
    """

    def __init__(self, fps: float) -> None:
        if fps <= 0:
            raise ValueError(f"Budget.fps: expected > 0, got {fps}")
        self._period_s = 1 / fps
        self._due_s: float | None = None

    def due(self, time_s: float) -> bool:
        """Return whether the picture of this time is to be looked at, and count it if so."""
        if self._due_s is None or abs(time_s - self._due_s) > 1 + self._period_s:
            self._due_s = time_s  # the first picture, or the first after a gap
        if time_s < self._due_s - _ROUNDING_S:
            return False
        # On a fixed grid, so that a picture that comes late does not delay all those after it.
        self._due_s += self._period_s * max(1, int((time_s - self._due_s) // self._period_s))
        return True


class Rate:
    """Measures events per second over the last few seconds."""

    def __init__(self, window_s: float) -> None:
        self._window_s = window_s
        self._times: deque[float] = deque(maxlen=2048)

    def tick(self, time_s: float) -> None:
        """Count one event."""
        self._times.append(time_s)

    def per_second(self, time_s: float) -> float:
        """Return the rate at this time; 0 with fewer than two events in the window."""
        recent = [t for t in tuple(self._times) if t > time_s - self._window_s]
        if len(recent) < 2 or recent[-1] <= recent[0]:  # noqa: PLR2004
            return 0.0
        # What is missing since the last event counts once it is more than an interval.
        interval = (recent[-1] - recent[0]) / (len(recent) - 1)
        return len(recent) / max(recent[-1] - recent[0] + interval, time_s - recent[0])


class Backoff:
    """Delays between attempts: doubling from `first_s` to `last_s`, jittered downwards by a half.

    Jitter keeps cameras that failed together from coming back together.
    """

    def __init__(self, first_s: float = 0.5, last_s: float = 30.0) -> None:
        if not 0 < first_s <= last_s:
            raise ValueError(f"Backoff: expected 0 < first_s <= last_s, got {first_s}, {last_s}")
        self._first_s = first_s
        self._last_s = last_s
        self.attempts = 0

    def next(self) -> float:
        """Return how long to wait now, in seconds."""
        limit: float = min(self._last_s, self._first_s * 2 ** min(self.attempts, 32))
        self.attempts += 1
        return limit * random.uniform(0.5, 1)  # noqa: S311 - no secret

    def reset(self) -> None:
        """Start over: it works again."""
        self.attempts = 0
