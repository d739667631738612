"""A histogram that never forgets and never depends on the order or size of its chunks."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

BINS = 1 << 14
_HALF = BINS // 2
_SMALLEST_EXPONENT = -126


class Histogram:
    """Counts of float32 values in bins of one power-of-two width, symmetric about zero.

    The width is the smallest power of two at which `BINS` bins hold every value seen; when a larger
    value comes, neighbours merge. So the outcome is a function of the values alone.
    """

    def __init__(self) -> None:
        self.exponent = _SMALLEST_EXPONENT
        """Log2 of the bin width."""
        self.counts = np.zeros(BINS, np.int64)
        self.low = math.inf
        self.high = -math.inf

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 2.0**self.exponent

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    def add(self, values: npt.NDArray[np.float32]) -> None:
        """Count values; raises `ValueError` if any is NaN or infinite."""
        flat = values.reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError(f"expected finite values, found a range of {low} to {high}")
        self._widen(_exponent(max(-low, high)))
        self.low, self.high = min(self.low, low), max(self.high, high)
        bins = np.floor(flat * np.float32(2.0**-self.exponent)).astype(np.int32) + _HALF
        self.counts += np.bincount(bins, minlength=BINS)

    def merge(self, other: Histogram) -> None:
        """Add another histogram's counts."""
        self._widen(other.exponent)
        counts = _merged(other.counts, self.exponent - other.exponent)
        self.counts = self.counts + counts
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def points(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the middles of the bins that hold anything, and their counts."""
        used = np.flatnonzero(self.counts)
        middles = np.clip((used - _HALF + 0.5) * self.width, self.low, self.high)
        return middles, self.counts[used].astype(np.float64)

    def quantile(self, q: float) -> float:
        """Return the q-quantile, 0..1, to within a bin's width."""
        reached = np.cumsum(self.counts)
        index = int(np.searchsorted(reached, max(1, math.ceil(q * reached[-1]))))
        return float(np.clip((index - _HALF + 0.5) * self.width, self.low, self.high))

    def _widen(self, exponent: int) -> None:
        if exponent > self.exponent:
            self.counts = _merged(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _exponent(largest: float) -> int:
    """Return the smallest exponent e with largest < 2**e * BINS / 2."""
    if not largest:
        return _SMALLEST_EXPONENT
    return max(_SMALLEST_EXPONENT, math.frexp(largest)[1] - _HALF.bit_length() + 1)


def _merged(counts: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.int64]:
    """Return the counts in bins 2**steps times as wide."""
    if not steps or not counts.any():
        return counts
    bins = ((np.arange(BINS) - _HALF) >> min(steps, 62)) + _HALF
    return np.bincount(bins, weights=counts, minlength=BINS).astype(np.int64)
