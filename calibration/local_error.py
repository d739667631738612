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
from onnx import helper

from .convolution import bias_of, weights_of
from .observe import INPUT, open_session
from .scales import weights
from .topology import silu_input
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    import numpy.typing as npt

    from .scales import Scale
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
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, LocalError]:
    """Return the error of every convolution that reads a quantised tensor, by its output."""
    comparison = _Comparison(topology, scales)
    for node in topology.nodes:
        if node.op_type == "Conv" and node.input[0] in scales:
            comparison.add(node, node.output[0] in integer)
    sums = _mean_moments(comparison.finish(model), comparison.moments, frames, done)
    return {
        output: _error(*(sums[f"{output}/local/{moment}"] for moment in _MOMENTS))
        for output in comparison.outputs
    }


class _Comparison:
    """Writes beside the float graph what quantisation would make of each convolution."""

    def __init__(self, topology: Topology, scales: Mapping[str, Scale]) -> None:
        self._topology = topology
        self._scales = scales
        self._writer = Writer({f"{name}/seen": scale for name, scale in scales.items()})
        self._writer.nodes.extend(topology.nodes)
        self._seen: set[str] = set()
        self.outputs: list[str] = []

    @property
    def moments(self) -> list[str]:
        return [f"{output}/local/{moment}" for output in self.outputs for moment in _MOMENTS]

    def add(self, conv: onnx.NodeProto, integer: bool) -> None:  # noqa: FBT001
        values, output = weights_of(self._topology, conv), conv.output[0]
        if values is None:
            return
        copy = onnx.NodeProto()
        copy.CopyFrom(conv)
        copy.name = copy.output[0] = f"{output}/local"
        copy.input[0] = self._quantised(conv.input[0])
        if integer:
            step = self._scales[conv.input[0]].scale
            quantised = weights(values, bias_of(self._topology, conv), step)
            copy.input[1] = self._writer.weights(output, quantised)
        self._writer.nodes.append(copy)
        d, y = self._op("Sub", f"{output}/local", output), output
        self._mean(f"{output}/local/d", d)
        self._mean(f"{output}/local/dd", self._op("Mul", d, d))
        self._mean(f"{output}/local/y", y)
        self._mean(f"{output}/local/yy", self._op("Mul", y, y))
        self.outputs.append(output)

    def finish(self, model: onnx.ModelProto) -> onnx.ModelProto:
        written = self._writer.finish(model)
        del written.graph.output[:]
        written.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.moments)
        return written

    def _quantised(self, name: str) -> str:
        """Return what is left of a tensor; x * sigmoid(x) is made of what is left of x."""
        if name not in self._seen:
            self._seen.add(name)
            made = name
            x = silu_input(self._topology, self._topology.producer[name])
            if x is not None and x in self._scales:
                left = self._quantised(x)
                made = self._op("Mul", left, self._op("Sigmoid", left))
            self._writer.emit(helper.make_node("Identity", [made], [f"{name}/seen"]))
        return f"{name}/seen/dq"

    def _op(self, op: str, *inputs: str) -> str:
        output = f"local/{len(self._writer.nodes)}"
        self._writer.nodes.append(helper.make_node(op, inputs, [output]))
        return output

    def _mean(self, output: str, name: str) -> None:
        # ReduceMean changed its signature in opset 18; this reads the same before and after.
        self._writer.nodes.append(helper.make_node("GlobalAveragePool", [name], [output]))


def _mean_moments(
    model: onnx.ModelProto,
    names: list[str],
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, npt.NDArray[np.float64]]:
    if not names:
        return {}
    session = open_session(model)
    sums = dict.fromkeys(names, np.zeros(1))
    for index, frame in enumerate(frames):
        for name, value in zip(names, session.run(names, {INPUT: frame[np.newaxis]}), strict=True):
            sums[name] = sums[name] + value.reshape(-1).astype(np.float64)
        done(index + 1)
    return {name: value / len(frames) for name, value in sums.items()}


def _error(
    d: npt.NDArray[np.float64],
    dd: npt.NDArray[np.float64],
    y: npt.NDArray[np.float64],
    yy: npt.NDArray[np.float64],
) -> LocalError:
    variance = np.maximum(yy - y * y, _SMALLEST_VARIANCE)
    noise = np.minimum(np.maximum(dd - d * d, 0) / variance, 1)
    return LocalError(float(noise.mean()), d.astype(np.float32))
