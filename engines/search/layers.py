"""The fewest multiplications to keep in float32 for an accuracy: ranked, then a few are tried.

The scores' errors of all layers in 8 bits add up as squares (effects.py), so what is used up of a
limit goes with the root of the effects that are left. One encoding tells how much that is, and so
how far down the ranking the limit holds: no chance of a few frames decides layer by layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LARGEST_SHARE = 0.5
"""Of all multiplications: with more than that in float it is no INT8 model any more."""
AIM = 0.95
"""Share of a limit that a search aims at, until it holds one."""
MOST_TRIED = 8
"""Encodings that are tried of one graph. Each is judged on the frames of the verdict: of many, the
luckiest would win."""
_FARTHEST = 0.2
"""Share of the effects that a step leaves at least: counts of lost objects are not so smooth."""
_WORTH = 0.02
"""Share of the multiplications for which a shorter choice is tried once one holds."""
_SMALL = 0.002
"""Share of the multiplications that any layer in float costs, however small it is: the way there
and back."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A convolution that may stay in float32, by its output tensor."""

    name: str
    noise: float
    """Its own, in 8 bits: variance of the error over variance of the output."""
    effect: float
    """Mean squared error of the scores that it spares the network in float; see effects.py."""
    takes: Mapping[str, float]
    """The layers that are float32 where it is, itself too, and each one's share of all
    multiplications, 0..1."""


@dataclass(frozen=True, slots=True)
class KeptLayer:
    """A convolution that stays in float32, by its output tensor."""

    name: str
    share: float
    """Of all multiplications, 0..1; with those before it that it alone takes to float."""
    noise: float
    """Its own, in 8 bits: variance of the error over variance of the output."""
    cost: float | None
    """What it would use up of the tightest limit in INT8, 1 being all of it, as its effect says;
    None where nothing is used up."""
    milliseconds: float | None = None
    """What INT8 would save of a frame, on the machine that built it."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search for one graph ended in."""

    part: str
    layers: tuple[KeptLayer, ...]
    use: float
    """Share of the tightest limit that is used up with these."""
    tried: int
    stopped: str = ""
    """Why it ended early, where it did."""

    @property
    def share(self) -> float:
        """Multiplications that stay in float32, of all, 0..1."""
        return sum(layer.share for layer in self.layers)

    @property
    def names(self) -> tuple[str, ...]:
        """The layers to keep in float32."""
        return tuple(layer.name for layer in self.layers)

    def timed(self, saved_ms: Mapping[str, float]) -> Searched:
        """Return the same with what each layer would save in INT8."""
        return replace(
            self,
            layers=tuple(replace(x, milliseconds=saved_ms.get(x.name)) for x in self.layers),
        )

    def for_passport(self) -> dict[str, Any]:
        """Return plain values; nothing that was timed."""
        return {
            "tried": self.tried,
            "stopped": self.stopped,
            "float_share": round(self.share, 5),
            "layers": [
                {
                    "name": layer.name,
                    "share": round(layer.share, 5),
                    "noise": round(layer.noise, 5),
                    "cost": None if layer.cost is None else round(layer.cost, 3),
                }
                for layer in self.layers
            ],
        }


class Search:
    """How many layers of a ranking have to stay in float32 for one graph to hold its limits.

    It starts with none; `step` is told what these used up, and says whether to try `names` next.
    No clock decides what is found.
    """

    def __init__(self, part: str, candidates: Sequence[Candidate]) -> None:
        self.part = part
        self._order = ranked(candidates)
        self._shares = _each(self._order)
        effects = [layer.effect for layer in self._order]
        # From the last to the first: a sum of what is small is exact, a difference is not.
        self._left = [*np.cumsum(effects[::-1])[::-1].tolist(), 0.0]
        self._most = _most_in_float(self._shares)
        self._uses: dict[int, float] = {}
        self._count = 0
        self._stopped = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The layers to keep in float32."""
        return tuple(layer.name for layer in self._order[: self._count])

    def step(self, use: float) -> bool:
        """Note what share of the tightest limit `names` used up; return whether to try others.

        Where there is nothing more to try, `names` are the best that was found.
        """
        self._uses[self._count] = use
        count = self._next(use)
        if count is not None and len(self._uses) == MOST_TRIED:
            count, self._stopped = None, f"after {MOST_TRIED} encodings"
        self._count = self._best() if count is None else count
        return count is not None

    def found(self) -> Searched:
        """Return what it ended in."""
        use, left = self._uses[self._count], self._left[self._count]
        layers = tuple(
            KeptLayer(layer.name, share, layer.noise, _cost(use, left, layer.effect))
            for layer, share in zip(self._order[: self._count], self._shares, strict=False)
        )
        return Searched(self.part, layers, use, len(self._uses), self._stopped)

    def _next(self, use: float) -> int | None:
        """Return how many layers to try next, as the effects that are left say; None: enough."""
        held = self._held()
        aim = AIM if held is None else 1.0  # nothing is lost any more by one that just misses it
        goal = self._left[self._count] * max((aim / max(use, _FARTHEST)) ** 2, _FARTHEST)
        wanted = next(count for count, left in enumerate(self._left) if left <= goal)
        failed = [n for n, used in self._uses.items() if used > 1 and (held is None or n < held)]
        wanted = max(wanted, max(failed, default=-1) + 1)
        if held is None:
            farthest = max(self._uses)
            return min(wanted, self._most) if farthest < self._most else None
        if use > 1 and wanted >= held:
            wanted = self._between(max(failed), held)
        if wanted >= held or sum(self._shares[wanted:held]) < _WORTH:
            return None
        return wanted

    def _between(self, failed: int, held: int) -> int:
        """Return the count at which half of the effects are left, by ratio, that lie between."""
        goal = math.sqrt(self._left[failed] * self._left[held])
        return next(n for n in range(failed + 1, held + 1) if n == held or self._left[n] <= goal)

    def _held(self) -> int | None:
        """Return the fewest layers with which the limits held."""
        return min((count for count, use in self._uses.items() if use <= 1), default=None)

    def _best(self) -> int:
        held = self._held()
        if held is not None:
            return held
        return min(self._uses, key=lambda count: (self._uses[count], count))


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the layers in the order in which to take them to float.

    Each is the one that then spares most for the multiplications that it adds: what another one has
    taken along already costs nothing more.
    """
    left = sorted(candidates, key=lambda layer: layer.name)
    order: list[Candidate] = []
    gone: set[str] = set()
    while left:
        best = max(left, key=lambda layer: layer.effect / (_added(layer, gone) + _SMALL))
        left.remove(best)
        order.append(best)
        gone.update(best.takes)
    return order


def _cost(use: float, left: float, effect: float) -> float | None:
    """Return by how much more of a limit is used up with that effect than with what is left."""
    if use <= 0 or left <= 0:
        return None
    return use * (math.sqrt(1 + effect / left) - 1)


def _most_in_float(shares: Sequence[float]) -> int:
    """Return how many layers may stay in float at most."""
    return int(np.searchsorted(np.cumsum(shares), LARGEST_SHARE, side="right"))


def _each(layers: Sequence[Candidate]) -> list[float]:
    """Return what each layer adds to the multiplications in float, after those before it."""
    gone: set[str] = set()
    added = []
    for layer in layers:
        added.append(_added(layer, gone))
        gone.update(layer.takes)
    return added


def _added(layer: Candidate, gone: set[str]) -> float:
    return sum(share for name, share in layer.takes.items() if name not in gone)
