"""The fewest multiplications to keep in float32 for an accuracy: ranked, bisected, pruned."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LARGEST_SHARE = 0.5
"""Of all multiplications: with more than that in float it is no INT8 model any more."""
_SINGLES = 6
"""Layers that are tried in INT8 one by one, those of the most multiplications: beyond them there is
little to win, and each that goes back because some thirty frames allow it may be missed on others.
"""
_EASIEST = 1.5
"""How much more of a limit the search's own frames may be taken to use up than the others."""
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
    """What it would use up of the tightest limit in INT8, 1 being all of it; None: not tried."""
    milliseconds: float | None = None
    """What INT8 would save of a frame, on the machine that built it."""


@dataclass(frozen=True, slots=True)
class Searched:
    """What a search for one graph ended in."""

    part: str
    layers: tuple[KeptLayer, ...]
    use: float
    """Share of the tightest limit that is used up with these, on the frames of the search."""
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


class Trials:
    """Runs encodings, each once, up to so many; no clock decides what is found.

    `measure` is given the layers in float and returns the share of the tightest limit used up.
    """

    def __init__(self, measure: Callable[[tuple[str, ...]], float], most: int) -> None:
        self._measure = measure
        self._known: dict[frozenset[str], float] = {}
        self.most = most
        self.stopped = ""

    @property
    def tried(self) -> int:
        """How many encodings were run."""
        return len(self._known)

    def use(self, names: Sequence[str]) -> float | None:
        """Return what is used up with these in float; None when no more may be run."""
        key = frozenset(names)
        if key in self._known:
            return self._known[key]
        if self.tried >= self.most:
            self.stopped = f"after {self.most} encodings"
            return None
        self._known[key] = self._measure(tuple(names))
        return self._known[key]


def ranked(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return the layers in the order in which to take them to float.

    Each is the one that then spares most for the multiplications that it adds: what another one has
    taken along already costs nothing more.
    """
    left = sorted(candidates, key=lambda layer: layer.name)
    order: list[Candidate] = []
    while left:
        gone = _shares(order)
        best = max(left, key=lambda layer: layer.effect / (_added(layer, gone) + _SMALL))
        left.remove(best)
        order.append(best)
    return order


def fewest(part: str, candidates: Sequence[Candidate], trials: Trials, aim: float) -> Searched:
    """Return the fewest multiplications in float with which no more than `aim` of a limit is used.

    The shortest beginning of the ranking that suffices is bisected; then its largest layers go back
    to INT8, one by one, as long as it still does.
    Where nothing suffices: the beginning that came closest.
    """
    kept = _prefix(ranked(candidates), trials, aim)
    kept, costs = _pruned(kept, trials, aim)
    final = trials.use(_names(kept))
    return Searched(
        part,
        tuple(
            KeptLayer(layer.name, share, layer.noise, costs.get(layer.name))
            for layer, share in zip(kept, _each(kept), strict=True)
        ),
        use=math.inf if final is None else final,
        tried=trials.tried,
        stopped=trials.stopped,
    )


def transferred(aim: float, here: float, there: float) -> float:
    """Return what to aim at on the search's frames, for `aim` where the graph is judged.

    The frames of the search were calibrated on, or are others: a choice that used up `here` of a
    limit on them used up `there` of it where it is judged. After a miss this asks for more than
    `here`, however little that was.
    """
    return aim * min(here / there, _EASIEST)


def _pruned(
    kept: list[Candidate], trials: Trials, aim: float
) -> tuple[list[Candidate], dict[str, float]]:
    """Return what is left, and what each layer that was tried costs of the limit in INT8."""
    costs: dict[str, float] = {}
    own = dict(zip(_names(kept), _each(kept), strict=True))
    for layer in sorted(kept, key=lambda layer: (-own[layer.name], layer.name))[:_SINGLES]:
        fewer = [other for other in kept if other is not layer]
        now, use = trials.use(_names(kept)), trials.use(_names(fewer))
        if use is None or now is None:
            break
        costs[layer.name] = use - now
        if use <= max(aim, now):
            kept = fewer
    return kept, costs


def _prefix(order: list[Candidate], trials: Trials, aim: float) -> list[Candidate]:
    """Return the shortest beginning that suffices: doubled until one does, then bisected."""
    most = _most_in_float(order)
    short, long = -1, 0
    uses: dict[int, float] = {}
    while True:
        use = trials.use(_names(order[:long]))
        if use is None:
            return order[: min(uses, key=lambda count: (uses[count], count), default=0)]
        uses[long] = use
        if use <= aim:
            break
        if long == most:
            return order[: min(uses, key=lambda count: (uses[count], count))]
        short, long = long, min(most, max(1, 2 * long))
    while long - short > 1:
        middle = (short + long) // 2
        use = trials.use(_names(order[:middle]))
        if use is None:
            break
        short, long = (short, middle) if use <= aim else (middle, long)
    return order[:long]


def _most_in_float(order: Sequence[Candidate]) -> int:
    """Return how many layers may stay in float at most."""
    share = 0.0
    for count, added in enumerate(_each(order)):
        share += added
        if share > LARGEST_SHARE:
            return count
    return len(order)


def _each(layers: Sequence[Candidate]) -> list[float]:
    """Return what each layer adds to the multiplications in float, after those before it."""
    return [_added(layer, _shares(layers[:place])) for place, layer in enumerate(layers)]


def _added(layer: Candidate, gone: Mapping[str, float]) -> float:
    return sum(share for name, share in layer.takes.items() if name not in gone)


def _shares(layers: Sequence[Candidate]) -> dict[str, float]:
    return {name: share for layer in layers for name, share in layer.takes.items()}


def _names(layers: Sequence[Candidate]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)
