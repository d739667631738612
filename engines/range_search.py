"""Chooses the steps of the worst ranges by what they do to the candidates for detection.

Squared error of a tensor, which calibration goes by, does not know which of its values detections
are made of. So each range is put in 8 bits alone, the rest of the network being float: what the
candidates' scores change by adds up over the ranges (effects.py), and each can be chosen by itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from calibration.observe import INPUT, open_session
from calibration.steps import STEP
from engines.effects import FLOOR, candidates_of, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from calibration.measured import Measured
    from edge.frame import Image

    Errors = npt.NDArray[np.float64]

_T = TypeVar("_T")

FACTORS = (1.0, 0.55, 0.7, 0.8, 0.9, 1.12, 1.25, 1.5)
"""Of a step, its own first: below 1 cuts off more and rounds finer. A neighbour's scores differ by
chance as much as by rule, so nothing is gained by finer ones."""
_MOST = 16
"""Ranges whose step is searched, the worst ones: most of the loss."""
_WORK = 2e12
"""Multiplications that looking at all ranges of one encoding may take, about, and again searching
the worst. A count and no clock."""
_FRAMES = (6, 16)
"""Of the calibration, that show something, on which they are searched: at least and at most."""
_FEW = (2, 4)
"""Those on which all ranges are looked at, to find the worst."""
_AT_ONCE = 2
"""Ranges: while one's graph is written and opened, another's runs."""


@dataclass(frozen=True, slots=True)
class _Scores:
    """What the float graph makes of the candidates, on the frames of the search."""

    name: str
    """The tensor of the candidates' scores."""
    frames: Sequence[Image]
    reference: npt.NDArray[np.float32]
    """(frames, candidates)."""

    def errors(
        self, measured: Measured, encoding: str, tensors: Sequence[str], factors: Sequence[float]
    ) -> Errors:
        """Return the summed squared change of the scores, (factors, frames), in 8 bits alone."""
        graph, step = measured.at_step(encoding, tensors, self.name)
        session = open_session(graph)
        found = np.zeros((len(factors), len(self.frames)))
        for row, factor in enumerate(factors):
            given = np.array(step * factor, np.float32)
            for column, (frame, wanted) in enumerate(zip(self.frames, self.reference, strict=True)):
                (scores,) = session.run([self.name], {INPUT: frame[np.newaxis], STEP: given})
                change = (scores[0] - wanted)[wanted >= FLOOR]
                found[row, column] = np.sum(np.square(change, dtype=np.float64))
        return found

    def spread(self, count: int) -> _Scores:
        """Return so many of the frames, or all if there are less, of those that show something."""
        showing = np.flatnonzero((self.reference >= FLOOR).any(axis=1))
        showing = showing if len(showing) else np.arange(len(self.frames))
        places = np.unique(np.linspace(0, len(showing) - 1, count).round().astype(np.intp))
        return self.at(showing[places])

    def at(self, places: npt.NDArray[np.intp]) -> _Scores:
        """Return these of the frames."""
        return replace(
            self, frames=[self.frames[i] for i in places], reference=self.reference[places]
        )


def factors(
    measured: Measured, encoding: str, done: Callable[[int, int], None]
) -> dict[str, float]:
    """Return by how much to multiply the step of which ranges, each named by its first tensor.

    Only what the frames agree on is changed. `done` is told how many ranges were run, of how many.
    """
    ranges = measured.ranges(encoding)
    worst = min(_MOST, len(ranges))
    name = candidates_of(measured.model)
    scores = _Scores(name, measured.frames, scores_of(measured.model, name, measured.frames))
    few = scores.spread(_within(measured, len(ranges), _FEW))
    scores = scores.spread(_within(measured, worst * len(FACTORS), _FRAMES))

    def look(tensors: tuple[str, ...]) -> float:
        return float(few.errors(measured, encoding, tensors, FACTORS[:1]).sum())

    def best(tensors: tuple[str, ...]) -> int:
        return agreed(scores.errors(measured, encoding, tensors, FACTORS))

    def told(results: Iterator[_T], before: int) -> Iterator[_T]:
        for number, result in enumerate(results):
            done(before + number + 1, len(ranges) + worst)
            yield result

    pool = ThreadPoolExecutor(_AT_ONCE, "range")
    try:
        loss = dict(zip(ranges, told(pool.map(look, ranges), 0), strict=True))
        order = sorted(ranges, key=lambda tensors: (-loss[tensors], tensors))[:worst]
        rows = told(pool.map(best, order), len(ranges))
        return {x[0]: FACTORS[row] for x, row in zip(order, rows, strict=True) if row}
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C waits for what is under way, and no more


def agreed(errors: Errors) -> int:
    """Return the row of the least error, (choices, frames); 0, what is, unless frames agree.

    What is best for half of the frames has to be better than row 0 for the other half, both ways.
    """
    halves = errors[:, ::2].sum(axis=1), errors[:, 1::2].sum(axis=1)
    for own, other in (halves, halves[::-1]):
        if not other[np.argmin(own)] < other[0]:
            return 0
    return int(np.argmin(errors.sum(axis=1)))


def _within(measured: Measured, runs: int, frames: tuple[int, int]) -> int:
    """Return on how many frames to make so many runs, at least and at most `frames`."""
    once = max(measured.multiplications * runs, 1.0)
    return int(min(max(_WORK / once, frames[0]), frames[1]))
