"""What quantisation does to each convolution by itself, its neighbours being float.

Every convolution is run twice in one graph, on what it gets in float and on what quantisation
leaves of that; the difference is compared per output channel. That takes seconds where running the
whole network once per tensor takes minutes, and points at the same layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from .convolution import weights_of
from .seen import Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import numpy.typing as npt

    from .scales import Scale, Weights
    from .topology import Topology

_SMALLEST_VARIANCE = 1e-9
_MOMENTS = ("d", "dd", "y", "yy")
"""Difference, its square, float output, its square."""


@dataclass(frozen=True, slots=True)
class LocalError:
    """One convolution: quantised minus float output."""

    noise: float
    """Variance of the error over variance of the output, mean over channels: 0 is perfect."""
    shift: npt.NDArray[np.float32]
    """Mean error per output channel, (C,)."""


def local_errors(  # noqa: PLR0913, PLR0917 - the parts of one calibration
    model: onnx.ModelProto,
    topology: Topology,
    integer: Collection[str],
    scales: Mapping[str, Scale],
    rounded: Mapping[str, Weights],
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, LocalError]:
    """Return the error of every convolution that reads a quantised tensor, by its output."""
    seen = Seen(topology, scales)
    compared = [
        node.output[0]
        for node in topology.nodes
        if node.op_type == "Conv"
        and node.input[0] in scales
        and weights_of(topology, node) is not None
    ]
    for output in compared:
        _compare(seen, topology.producer[output], rounded if output in integer else {})
    means = seen.means(model, frames, done)
    return {
        output: _error(*(means[f"{output}/local/{moment}"] for moment in _MOMENTS))
        for output in compared
    }


def _compare(seen: Seen, conv: onnx.NodeProto, rounded: Mapping[str, Weights]) -> None:
    """Write a convolution a second time, in 8 bits, and ask for how the two differ."""
    output = conv.output[0]
    copy = onnx.NodeProto()
    copy.CopyFrom(conv)
    copy.name = copy.output[0] = f"{output}/local"
    copy.input[0] = seen.tensor(conv.input[0])
    if output in rounded:
        copy.input[1] = seen.writer.weights(output, rounded[output])
    seen.writer.nodes.append(copy)
    d = seen.op("Sub", f"{output}/local", output)
    asked = (d, _squared(seen, d), output, _squared(seen, output))
    for moment, name in zip(_MOMENTS, asked, strict=True):
        seen.mean(name, f"{output}/local/{moment}")


def _squared(seen: Seen, name: str) -> str:
    return seen.op("Mul", name, name)


def _error(
    d: npt.NDArray[np.float64],
    dd: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    yy: npt.NDArray[np.float64],
) -> LocalError:
    variance = np.maximum(yy - y * y, _SMALLEST_VARIANCE)
    noise = np.minimum(np.maximum(dd - d * d, 0) / variance, 1)
    return LocalError(float(noise.mean()), d.astype(np.float32))
