"""Counts that do not flicker: what one camera has seen of one aisle lately, settled."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
"""int64 (number of labels,)."""

SHARE_TO_CHANGE = 0.75
"""A settled count changes once this share of the window lies on one side of it."""
MAX_SAMPLES = 64


@dataclass(frozen=True, slots=True)
class _Sample:
    monotonic_s: float
    counts: Counts
    scores: npt.NDArray[np.float64]


class Window:
    """The last `hysteresis_s` seconds of counts per label, and the settled count.

    A settled count moves to the window's median only when at least three quarters of the window
    lie above it, or three quarters below: a count that flips between 2 and 3 stays what it was.
    """

    def __init__(self, labels: int, hysteresis_s: float) -> None:
        self._labels = labels
        self._hysteresis_s = hysteresis_s
        self._samples: deque[_Sample] = deque()
        self._since: float | None = None
        self.settled: Counts | None = None
        """Settled count per label; None until the window has been filled once."""

    def clear(self) -> None:
        """Forget everything: the camera could not see."""
        self._samples.clear()
        self._since = None
        self.settled = None

    def add(
        self, monotonic_s: float, labels: npt.NDArray[np.int32], scores: npt.NDArray[np.float32]
    ) -> None:
        """Take one frame's objects: their labels (N,) and scores (N,)."""
        if self._since is None:
            self._since = monotonic_s
        step = self._hysteresis_s / MAX_SAMPLES
        if self._samples and monotonic_s - self._samples[-1].monotonic_s < step:
            return
        counts = np.bincount(labels, minlength=self._labels)
        sums = np.bincount(labels, scores, self._labels).astype(np.float64)
        self._samples.append(_Sample(monotonic_s, counts, sums))
        while monotonic_s - self._samples[0].monotonic_s > self._hysteresis_s:
            self._samples.popleft()
        self._settle(monotonic_s - self._since)

    def confidence(self) -> npt.NDArray[np.float64]:
        """Return the mean score per label over the window, 0 where the label was not seen."""
        if not self._samples:
            return np.zeros(self._labels)
        counts = np.sum([sample.counts for sample in self._samples], axis=0)
        scores = np.sum([sample.scores for sample in self._samples], axis=0)
        mean: npt.NDArray[np.float64] = scores / np.maximum(counts, 1)
        return mean

    def _settle(self, watched_s: float) -> None:
        window = np.stack([sample.counts for sample in self._samples])
        median = np.sort(window, axis=0)[(len(window) - 1) // 2]
        if self.settled is None:
            if watched_s >= self._hysteresis_s:
                self.settled = median
            return
        above = np.mean(window > self.settled, axis=0) >= SHARE_TO_CHANGE
        below = np.mean(window < self.settled, axis=0) >= SHARE_TO_CHANGE
        self.settled = np.where(above | below, median, self.settled)
