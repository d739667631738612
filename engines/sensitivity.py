"""Which layers of a graph stay in float, found on frames that it is not judged on."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from edge.detector import bundle
from engines.effects import effects
from engines.encodings import ENCODINGS
from engines.search import Candidate, Trials, fewest, transferred

if TYPE_CHECKING:
    from collections.abc import Sequence

    from calibration.layers import Layer
    from engines.encodings import Encodings
    from engines.evaluation.evaluated import Judge
    from engines.images import Progress
    from engines.search import Searched

_WORK = 5e12
"""Multiplications that the search of one graph may take, about, twice: to try the layers, and to
try encodings. A count and no clock: the same inputs end in the same layers on any machine."""
_LOOKED_AT = (4, 16)
"""Frames of the search, at least and at most, on which each layer is tried by itself."""
_TRIES = (20, 60)
"""Encodings that are run for one graph, at most, of large networks and of small ones."""


class Sensitivity:
    """Knows what each layer in 8 bits costs; `judge` has the frames to search on."""

    def __init__(
        self, encodings: Encodings, judge: Judge, parts: Sequence[str], progress: Progress
    ) -> None:
        self._encodings = encodings
        self._judge = judge
        self._progress = progress
        most = self._within(_TRIES, len(judge.held_out.frames))
        self._trials = {part: Trials(partial(self._use, part), most) for part in parts}
        self._candidates: dict[str, list[Candidate]] = {}

    def fewest(self, part: str, aim: float, use: float, known: Sequence[str] | None) -> Searched:
        """Return the layers to keep in float for a graph to use up `aim` of its limits.

        It used up `use`, where it is judged, with those `known`; None: it was not searched yet.
        """
        trials = self._trials[part]
        if known is not None and (here := trials.use(known)) is not None:
            aim = transferred(aim, here, use)
        if part not in self._candidates:
            self._candidates[part] = self._layers(part)
        return fewest(part, self._candidates[part], trials, aim)

    def _layers(self, part: str) -> list[Candidate]:
        """Return the layers that may stay in float, each with what it spares."""
        encoding, measured = ENCODINGS[part], self._encodings.measured
        sparable, frames = measured.sparable(encoding), self._judge.held_out.frames
        found = effects(
            measured.model,
            ((name, measured.alone(encoding, name)) for name in sparable),
            frames[:: -(-len(frames) // self._within(_LOOKED_AT, len(sparable)))],
            lambda done: self._progress(f"trying the layers of {part}", done, len(sparable)),
        )
        return [
            Candidate(name, _noise(part, layer), found[name], {x.name: x.share for x in taken})
            for name, taken in sparable.items()
            for layer in taken
            if layer.name == name
        ]

    def _within(self, limits: tuple[int, int], frames: int) -> int:
        """Return how often so many frames may be run, within limits."""
        once = self._encodings.measured.multiplications * frames
        return int(min(max(_WORK / max(once, 1.0), limits[0]), limits[1]))

    def _use(self, part: str, names: tuple[str, ...]) -> float:
        trials = self._trials[part]
        self._progress(f"searching {part}, {len(names)} layers in float", trials.tried, trials.most)
        graph = self._encodings.one(part, names)
        return self._judge.grade(part, graph, lambda *_: None).use


def _noise(part: str, layer: Layer) -> float:
    return layer.tensorrt_noise if part == bundle.TENSORRT_GRAPH else layer.cpu_noise
