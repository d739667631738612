"""Choose the 8-bit range of a tensor from its histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .groups import PROBABILITIES, sources
from .histogram import Histogram
from .scales import Scale, unsigned
from .topology import scaled_input, silu_input

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .prelude import Prelude
    from .topology import Topology

    Curve = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

_POINTS = 2048
_STEPS = 48
_ROUNDS = 3
SYSTEMATIC = 16.0


def identity(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return x."""
    return x


def sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-np.clip(x, -60, 60)))


def silu(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return x * sigmoid(x)."""
    return x * sigmoid(x)


def choose(
    topology: Topology,
    prelude: Prelude,
    groups: Sequence[Sequence[str]],
    histograms: Mapping[str, Histogram],
) -> dict[str, Scale]:
    """Return a scale per tensor, one for each group of tensors."""
    scales: dict[str, Scale] = {}
    for group in groups:
        if prelude.scale is not None and prelude.tensor in group:
            scale = prelude.scale
        else:
            scale = _scale(topology, sources(topology, group), histograms)
        scales.update(dict.fromkeys(group, scale))
    return scales


def _scale(topology: Topology, made: Sequence[str], histograms: Mapping[str, Histogram]) -> Scale:
    if all(topology.producer[name].op_type in PROBABILITIES for name in made):
        return unsigned(0.0, 1.0)
    return search(merged(topology, made, histograms), _through(topology, made))


def merged(
    topology: Topology, made: Sequence[str], histograms: Mapping[str, Histogram]
) -> Histogram:
    """Return what a group of tensors holds together; probabilities stand for 0..1."""
    total = Histogram()
    for name in made:
        if topology.producer[name].op_type in PROBABILITIES:
            total.add(np.linspace(0, 1, 256, dtype=np.float32))
        else:
            total.merge(histograms[name])
    return total


def _through(topology: Topology, made: Sequence[str]) -> Curve:
    """Return the function behind which a tensor's error counts: its activation, if it has one."""
    readers = topology.consumers[made[0]]
    if len(made) != 1:
        return identity
    if [node.op_type for node in readers] == ["Sigmoid"]:
        return sigmoid
    gates = [node for node in readers if silu_input(topology, node) == made[0]]
    if not gates or len(readers) != len(gates) + 1:
        return identity
    other = next(node for node in readers if node not in gates)
    if other.op_type == "Sigmoid":
        return silu
    if scaled_input(topology, other.output[0]) == made[0]:
        factors = topology.constant(other.input[1])
        # The smallest has the widest range in which anything changes.
        least = 1.0 if factors is None else float(np.min(factors))
        return lambda x: x * sigmoid(least * x)
    return identity


def search(
    histogram: Histogram,
    through: Curve = identity,
    make: Callable[[float, float], Scale] = unsigned,
) -> Scale:
    """Return the scale whose error, behind the function `through`, is least over the histogram.

    The error is the sum of squares of through(quantised x) - through(x), plus the square of its
    mean, `SYSTEMATIC` times over: a convolution behind it averages the noise of many inputs away,
    but adds up what all of them are wrong by. Coordinate descent over both ends of the range, from
    the full range inwards.
    """
    points, counts = _coarse(*histogram.points())
    wanted = through(points)
    total = counts.sum()

    def loss(low: float, high: float) -> float:
        error = through(make(low, high).round_trip(points)) - wanted
        return float(counts @ error**2 + SYSTEMATIC * (counts @ error) ** 2 / total)

    low, high = min(histogram.low, 0.0), max(histogram.high, 0.0)
    fractions = np.linspace(1.0, 1 / _STEPS, _STEPS)
    best = loss(low, high)
    full_low, full_high = low, high
    for _ in range(_ROUNDS):
        before = low, high
        for end in fractions * full_high:
            if (tried := loss(low, end)) < best:
                best, high = tried, float(end)
        for end in fractions * full_low:
            if (tried := loss(end, high)) < best:
                best, low = tried, float(end)
        if (low, high) == before:
            break
    return make(low, high)


def _coarse(
    points: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Merge neighbouring points to at most `_POINTS`, at their centre of mass."""
    if len(points) <= _POINTS:
        return points, counts
    starts = np.arange(0, len(points), -(-len(points) // _POINTS))
    merged = np.add.reduceat(counts, starts)
    return np.add.reduceat(points * counts, starts) / merged, merged
