"""The fewest layers to keep in float32 for an accuracy: ranked, bisected, pruned."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from calibration.layers import Layer

LARGEST_SHARE = 0.5
"""Of all multiplications: with more than that in float it is no INT8 model any more."""
MOST_TRIES = 100
"""Encodings that are run for one graph: so that the same inputs end in the same layers."""
_SINGLES = 16
"""Layers that are tried in INT8 one by one, those of the most multiplications: beyond them there is
little to win."""
SECONDS = 300.0
"""After so long a search ends with what it has, where the machine is slow."""
_SMALL = 0.002
"""Share of the multiplications that any layer in float costs, however small it is: the way there
and back."""
_LARGE = 0.1
"""With so much added to its share, a layer is ranked by what it loses, hardly by what it costs."""


@dataclass(frozen=True, slots=True)
class KeptLayer:
    """A convolution that stays in float32, by its output tensor."""

    name: str
    share: float
    """Of all multiplications, 0..1."""
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
    """Runs encodings, each once, until there were too many or it took too long.

    `measure` is given the layers in float and returns the share of the tightest limit used up.
    """

    def __init__(
        self, measure: Callable[[tuple[str, ...]], float], most: int = MOST_TRIES,
        seconds: float = SECONDS,
    ) -> None:  # fmt: skip
        self._measure = measure
        self._known: dict[frozenset[str], float] = {}
        self.most = most
        self._seconds = seconds
        self._until: float | None = None
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
        if self._until is None:
            self._until = time.monotonic() + self._seconds
        if time.monotonic() > self._until:
            self.stopped = "for time: on a faster machine it may find fewer layers"
            return None
        self._known[key] = self._measure(tuple(names))
        return self._known[key]


def rankings(layers: Sequence[Layer], noise: Mapping[str, float]) -> list[list[Layer]]:
    """Return the layers ordered by what they gain for their multiplications, and by what they gain.

    Networks of depthwise convolutions lose in tiny layers, others in large ones.
    """

    def ranked(handicap: float) -> list[Layer]:
        def effect(layer: Layer) -> float:
            return noise[layer.name] * math.sqrt(layer.influence) / (layer.share + handicap)

        return sorted(layers, key=lambda layer: (-effect(layer), layer.name))

    return [ranked(_SMALL), ranked(_LARGE)]


def fewest(
    part: str, layers: Sequence[Layer], noise: Mapping[str, float], trials: Trials, aim: float
) -> Searched:
    """Return the fewest multiplications in float with which no more than `aim` of a limit is used.

    The shortest sufficient beginning of each ranking is bisected and the cheaper one taken; then
    its largest layers are tried in INT8, and those go back that cost least for their
    multiplications.
    Where nothing suffices: the beginning that came closest.
    """
    kept = _cheapest(
        [_prefix(order, trials, aim) for order in rankings(layers, noise)], trials, aim
    )
    now = trials.use(_names(kept))
    costs: dict[str, float] = {}
    for layer in sorted(kept, key=lambda layer: (-layer.share, layer.name))[:_SINGLES]:
        use = trials.use(_names([other for other in kept if other is not layer]))
        if use is not None and now is not None:
            costs[layer.name] = use - now
    kept = _pruned(kept, costs, trials, aim)
    final = trials.use(_names(kept))
    return Searched(
        part,
        tuple(KeptLayer(x.name, x.share, noise[x.name], costs.get(x.name)) for x in kept),
        use=math.inf if final is None else final,
        tried=trials.tried,
        stopped=trials.stopped,
    )


def _cheapest(found: Sequence[list[Layer]], trials: Trials, aim: float) -> list[Layer]:
    """Return what suffices with the fewest multiplications, or else comes closest."""

    def price(kept: list[Layer]) -> tuple[float, float]:
        use = trials.use(_names(kept))
        missed = math.inf if use is None else max(0.0, use - aim)
        return missed, sum(layer.share for layer in kept)

    return min(found, key=price)


def _pruned(
    kept: list[Layer], costs: Mapping[str, float], trials: Trials, aim: float
) -> list[Layer]:
    """Return what is left when as many cheap layers as possible have gone back to INT8."""

    def price(layer: Layer) -> float:
        return costs[layer.name] / (layer.share + _SMALL)

    cheap = [layer for layer in sorted(kept, key=lambda x: x.name) if layer.name in costs]
    cheap.sort(key=price)
    count, most = 0, len(cheap)
    while count < most:
        middle = (count + most + 1) // 2
        use = trials.use(_names(_without(kept, cheap[:middle])))
        if use is None:
            break
        count, most = (middle, most) if use <= aim else (count, middle - 1)
    return _without(kept, cheap[:count])


def _without(layers: Sequence[Layer], gone: Sequence[Layer]) -> list[Layer]:
    return [layer for layer in layers if layer not in gone]


def _names(layers: Sequence[Layer]) -> tuple[str, ...]:
    return tuple(layer.name for layer in layers)


def _prefix(order: Sequence[Layer], trials: Trials, aim: float) -> list[Layer]:
    """Return the shortest beginning that suffices: doubled until one does, then bisected."""
    most = _most_in_float(order)
    short, long = -1, 0
    uses: dict[int, float] = {}
    while True:
        use = trials.use(_names(order[:long]))
        if use is None:
            return list(order[: min(uses, key=lambda count: (uses[count], count), default=0)])
        uses[long] = use
        if use <= aim:
            break
        if long == most:
            return list(order[: min(uses, key=lambda count: (uses[count], count))])
        short, long = long, min(most, max(1, 2 * long))
    while long - short > 1:
        middle = (short + long) // 2
        use = trials.use(_names(order[:middle]))
        if use is None:
            break
        short, long = (short, middle) if use <= aim else (middle, long)
    return list(order[:long])


def _most_in_float(order: Sequence[Layer]) -> int:
    """Return how many layers may stay in float at most."""
    share = 0.0
    for count, layer in enumerate(order):
        share += layer.share
        if share > LARGEST_SHARE:
            return count
    return len(order)
