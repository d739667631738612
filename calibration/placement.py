"""How one encoding runs a graph in 8 bits, and what that costs each layer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from .fallback import too_noisy
from .local_error import local_errors
from .tail import body, influence

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import onnx

    from .histogram import Histogram
    from .local_error import LocalError
    from .prelude import Prelude
    from .scales import Scale, Weights
    from .topology import Topology

    Progress = Callable[[str, int, int], None]
    """Told (what is being done, how many are done, of how many)."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folded float graph, what its tensors hold, and the frames to compare layers on."""

    model: onnx.ModelProto
    topology: Topology
    prelude: Prelude
    histograms: Mapping[str, Histogram]
    used: int
    """Frames after which the ranges stood still."""
    frames: Sequence[npt.NDArray[np.uint8]]
    tell: Progress


@dataclass(frozen=True, slots=True)
class Placement:
    """How one encoding runs everything it can in 8 bits, and what that costs each layer."""

    nodes: list[onnx.NodeProto]
    scales: Mapping[str, Scale]
    rounded: Mapping[str, Weights]
    errors: Mapping[str, LocalError]
    noisy: tuple[str, ...]
    """Convolutions that had better stay in float, the worst first."""
    moved: Mapping[str, float] = field(default_factory=dict)
    """Tensors whose step is another than their values alone ask for, and how many times that."""

    def rescaled(self, source: Source, factors: Mapping[str, float]) -> Placement:
        """Return the same with other steps: `factors` says of which ranges, and times what.

        A range is named by any of its tensors.
        """
        # What shares a scale goes on to do so.
        made = {
            id(scale): scale.times(factors[name])
            for name, scale in self.scales.items()
            if name in factors
        }
        scales = {name: made.get(id(scale), scale) for name, scale in self.scales.items()}
        moved = {
            name: self.moved.get(name, 1.0) * factors.get(name, 1.0)
            for name in (*self.moved, *factors)
        }
        return replace(place(source, self.nodes, scales, self.rounded), moved=moved)


def place(
    source: Source,
    nodes: list[onnx.NodeProto],
    scales: Mapping[str, Scale],
    rounded: Mapping[str, Weights],
) -> Placement:
    """Compare each layer in 8 bits, with these scales and weights, with itself in float."""
    total = len(source.frames)
    integer = {node.output[0] for node in nodes}
    errors = local_errors(
        source.model,
        source.topology,
        integer,
        scales,
        rounded,
        source.frames,
        lambda done: source.tell("comparing layers", done, total),
    )
    noisy = too_noisy(errors, influence(source.topology, body(source.topology)))
    kept = tuple(name for name in noisy if name in integer)
    return Placement(nodes, scales, rounded, errors, kept)
