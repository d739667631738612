"""Counts that do not flicker: what one camera has seen of one aisle lately, settled."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int32]
"""int32 (number of labels,)."""

SHARE_TO_CHANGE = 0.75
"""A settled count changes once this share of the window lies on one side of it."""
MAX_SAMPLES = 64
_NEVER = -1e300
"""A sample at -inf was never taken, or is forgotten: it is in no window."""


class Window:
    """The last `hysteresis_s` seconds of counts per label, and the settled count.

    A settled count moves to the window's median only when at least three quarters of the window
    lie above it, or three quarters below: a count that flips between 2 and 3 stays what it was.
    Frames closer together than a `MAX_SAMPLES`th of the window share a sample.
    """

    def __init__(self, labels: int, hysteresis_s: float) -> None:
        self._hysteresis_s = hysteresis_s
        self._times = np.full(MAX_SAMPLES, -np.inf)
        self._counts = np.zeros((MAX_SAMPLES, labels), np.int32)
        self._scores = np.zeros((MAX_SAMPLES, labels))
        self._next = 0
        self._since: float | None = None
        self.settled: Counts | None = None
        """Settled count per label; None until the window has been filled once."""

    def clear(self) -> None:
        """Forget everything: the camera could not see."""
        self._times.fill(-np.inf)
        self._since = None
        self.settled = None

    def add(
        self, monotonic_s: float, labels: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]
    ) -> None:
        """Take one frame's objects: their labels (N,) and scores (N,)."""
        if self._since is None:
            self._since = monotonic_s
        if monotonic_s - self._times[self._next - 1] < self._hysteresis_s / MAX_SAMPLES:
            return
        row, width = self._next, self._counts.shape[1]
        self._times[row] = monotonic_s
        self._counts[row] = np.bincount(labels, minlength=width)
        self._scores[row] = np.bincount(labels, scores, width)
        self._next = (row + 1) % MAX_SAMPLES
        self._settle(monotonic_s)

    def confidence(self) -> npt.NDArray[np.float64]:
        """Return the mean score per label over the window, 0 where the label was not seen."""
        lately = self._lately(self._times.max())
        objects = np.maximum(self._counts[lately].sum(axis=0), 1)
        mean: npt.NDArray[np.float64] = self._scores[lately].sum(axis=0) / objects
        return mean

    def _lately(self, now_s: float) -> npt.NDArray[np.bool_]:
        lately: npt.NDArray[np.bool_] = self._times >= max(now_s - self._hysteresis_s, _NEVER)
        return lately

    def _settle(self, now_s: float) -> None:
        window = self._counts[self._lately(now_s)]
        if self.settled is None:
            if self._since is not None and now_s - self._since >= self._hysteresis_s:
                self.settled = _median(window)
            return
        enough = SHARE_TO_CHANGE * len(window)
        above = np.count_nonzero(window > self.settled, axis=0) >= enough
        below = np.count_nonzero(window < self.settled, axis=0) >= enough
        if above.any() or below.any():
            self.settled = np.where(above | below, _median(window), self.settled)


def _median(window: npt.NDArray[np.int32]) -> Counts:
    """Return the lower median of each column: a count that was seen, not a mean of two."""
    middle = (len(window) - 1) // 2
    median: Counts = np.partition(window, middle, axis=0)[middle]
    return median
