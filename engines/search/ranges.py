"""Chooses the steps of the worst ranges by what they do to the candidates for detection.

Squared error of a tensor, which calibration goes by, does not know which of its values detections
are made of. So each range is put in 8 bits alone, the rest of the network being float: what the
candidates' scores change by adds up over the ranges (effects.py), and each can be chosen by itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from calibration.observe import INPUT, open_session
from calibration.steps import STEP
from engines.search.effects import affordable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from calibration.measured import Measured
    from engines.search.effects import Scores

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


def factors(
    measured: Measured, scores: Scores, encoding: str, done: Callable[[int, int], None]
) -> dict[str, float]:
    """Return by how much to multiply the step of which ranges, each named by its first tensor.

    Only what the frames of the float graph's `scores` agree on is changed. `done` is told how many
    ranges were run, of how many.
    """
    ranges = measured.ranges(encoding)
    worst = min(_MOST, len(ranges))
    once = measured.multiplications
    few = scores.spread(affordable(_WORK, once * len(ranges), _FEW))
    scores = scores.spread(affordable(_WORK, once * worst * len(FACTORS), _FRAMES))

    def look(tensors: tuple[str, ...]) -> float:
        return float(_errors(few, measured, encoding, tensors, FACTORS[:1]).sum())

    def best(tensors: tuple[str, ...]) -> int:
        return agreed(_errors(scores, measured, encoding, tensors, FACTORS))

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


def _errors(
    scores: Scores,
    measured: Measured,
    encoding: str,
    tensors: Sequence[str],
    factors: Sequence[float],
) -> Errors:
    """Return the summed squared change of the scores, (factors, frames), in 8 bits alone."""
    graph, step = measured.at_step(encoding, tensors, scores.name)
    session = open_session(graph)
    found = np.zeros((len(factors), len(scores.frames)))
    for row, factor in enumerate(factors):
        given = np.array(step * factor, np.float32)
        for column, frame in enumerate(scores.frames):
            (changed,) = session.run([scores.name], {INPUT: frame[np.newaxis], STEP: given})
            found_scores = np.sort(changed, None) if scores.ranked else changed.ravel()
            change = (found_scores - scores.reference[column])[scores.heard[column]]
            found[row, column] = np.sum(np.square(change, dtype=np.float64))
    return found


def agreed(errors: Errors) -> int:
    """Return the row of the least error, (choices, frames); 0, what is, unless frames agree.

    What is best for half of the frames has to be better than row 0 for the other half, both ways.
    """
    halves = errors[:, ::2].sum(axis=1), errors[:, 1::2].sum(axis=1)
    for own, other in (halves, halves[::-1]):
        if not other[np.argmin(own)] < other[0]:
            return 0
    return int(np.argmin(errors.sum(axis=1)))
