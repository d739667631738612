"""Which aisle a moving camera is in, from what single frames say: a Bayes filter over time.

A hidden Markov chain in continuous time: at any moment the camera may change from any state (an
aisle, or none of them) to any other, all alike; what a frame shows makes some states likelier.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Belief = npt.NDArray[np.float64]
"""float64 (aisles + 1,): how likely each aisle is; the last is none of them."""

BELIEVED = 0.95
"""An aisle at least so likely is the one."""
MISREAD = 1 / 20
"""A single frame may make a state this much less likely than another, however sure it looks."""
FULL_S = 0.2
"""Frames closer together than this show nearly the same, and count for less: 30 of them in a second
decide no faster than 5."""


class AisleFilter:
    """Frames' likelihoods in, the belief out. Pure: the times are the caller's, in seconds.

    With no sign of it an aisle that was certain is believed for `hold_s`. Frames that clearly show
    one aisle, 0.2 s or more apart, make it believed by the fifth, by the fourth where `hold_s` is a
    few seconds (with up to 20 aisles); a single one that shows another switches nothing.
    """

    def __init__(self, aisles: int, hold_s: float) -> None:
        if aisles < 1 or hold_s <= 0:
            raise ValueError(f"AisleFilter: expected aisles and a time, got {aisles}, {hold_s}")
        self._even = np.full(aisles + 1, 1 / (aisles + 1))
        # A certain aisle, left alone, has decayed to BELIEVED after hold_s.
        even = self._even[0]
        self._per_s = float(-np.log((BELIEVED - even) / (1 - even)) / hold_s)
        self._last_s: float | None = None
        self.belief: Belief = self._even

    @property
    def aisle(self) -> int | None:
        """The aisle that is believed, counted from 0; None: it is none of them, or unclear."""
        likeliest = int(np.argmax(self.belief))
        if likeliest == len(self.belief) - 1 or self.belief[likeliest] < BELIEVED:
            return None
        return likeliest

    def see(self, at_s: float, likelihood: Belief) -> int | None:
        """Take what one frame says, (aisles + 1,) >= 0, to a common factor; return `aisle`.

        All alike means that it says nothing. Times must not go back.
        """
        if likelihood.shape != self.belief.shape or not likelihood.max() > 0:
            raise ValueError(
                f"AisleFilter.see: expected {len(self.belief)} likelihoods, not all 0, "
                f"got {likelihood}"
            )
        since_s = FULL_S if self._last_s is None else max(0.0, at_s - self._last_s)
        self._last_s = at_s
        stays = np.exp(-self._per_s * since_s)
        before = self._even + (self.belief - self._even) * stays
        weight = min(1.0, since_s / FULL_S)
        after = before * np.maximum(likelihood / likelihood.max(), MISREAD) ** weight
        self.belief = after / after.sum()
        return self.aisle
