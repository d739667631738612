"""Give the channels between two convolutions equal ranges, where one scale has to serve them all.

A channel can be divided by a factor in the convolution that makes it and multiplied by it in those
that read it (Nagel et al., 2019). A ReLU between them does not notice; in x * sigmoid(x) the gate
has to be given the factor back, which costs one multiplication per value: done only where it pays,
and taken back in an encoding that rounds nothing there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import onnx
from onnx import helper, numpy_helper

from .convolution import weights_of
from .observe import activations
from .topology import Topology, attribute, silu_input

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})
_LEAST = 2.0
"""SiLU needs its inputs down to -6 whatever a channel reaches: no use in factors for less."""
_UNEVEN = 20.0
"""How much noise one scale must add, on average over channels, to be worth a multiplication."""
_STEPS = 255
_RESTORED = "/restored"
"""Behind a tensor's name: what its gate reads, with the factors given back."""


def equalised(
    model: onnx.ModelProto,
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> onnx.ModelProto:
    """Return a graph that computes the same, with channels of more equal ranges."""
    topology = Topology(model)
    makers = {
        node.output[0]: conv
        for node in topology.nodes
        if (conv := _maker(topology, node)) is not None and _read_by_convolutions(topology, node)
    }
    written = onnx.ModelProto()
    written.CopyFrom(model)
    if not makers:
        return written
    peaks = _peaks(model, [*makers], frames, done)
    for name, conv in makers.items():
        gated = silu_input(topology, topology.producer[name]) is not None
        factors = _factors(peaks[name], _LEAST if gated else 0.0)
        if not gated or _unevenness(factors) > _UNEVEN:
            _divide(written, topology, conv, name, factors)
    return written


def _maker(topology: Topology, node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return the Conv whose outputs a node activates, and nobody else reads."""
    x = silu_input(topology, node)
    if x is None and node.op_type in _HOMOGENEOUS:
        x = node.input[0]
    conv = topology.producer.get(x) if x is not None else None
    if conv is None or conv.op_type != "Conv" or weights_of(topology, conv) is None:
        return None
    readers = len(topology.consumers[conv.output[0]])
    return conv if readers == (1 if node.op_type in _HOMOGENEOUS else 2) else None


def _read_by_convolutions(topology: Topology, node: onnx.NodeProto) -> bool:
    readers = topology.consumers[node.output[0]]
    return (
        bool(readers)
        and node.output[0] not in topology.outputs
        and all(
            reader.op_type == "Conv"
            and reader.input[0] == node.output[0]
            and weights_of(topology, reader) is not None
            for reader in readers
        )
    )


def _peaks(
    model: onnx.ModelProto,
    tensors: list[str],
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, npt.NDArray[np.float64]]:
    """Return how far each channel reaches, per tensor (C,): its largest value, mean over frames."""
    total = [np.zeros(1)] * len(tensors)
    for index, values in enumerate(activations(model, tensors, frames)):
        largest = [np.abs(value[0]).reshape(value.shape[1], -1).max(axis=1) for value in values]
        total = [a + b for a, b in zip(total, largest, strict=True)]
        done(index + 1)
    return {name: value / len(frames) for name, value in zip(tensors, total, strict=True)}


def _factors(peaks: npt.NDArray[np.float64], least: float) -> npt.NDArray[np.float32]:
    """Return the factors, 1 and more; in 8 bits each is exact."""
    floor = max(least, float(peaks.max()) / _STEPS, 1e-6)
    factors = np.maximum(peaks, floor)
    factors /= factors.min()
    step = factors.max() / _STEPS
    found: npt.NDArray[np.float32] = (np.rint(factors / step) * step).astype(np.float32)
    return found


def _unevenness(factors: npt.NDArray[np.float32]) -> float:
    return float(np.mean((factors.max() / factors) ** 2))


def plain_in_float(model: onnx.ModelProto) -> None:
    """Take the factors back, in an encoded `model`, where what makes and reads them is float32.

    Nothing is rounded there, and without them x * sigmoid(x) is one operator of ONNX Runtime's.
    """
    writing = _Writing(model)
    for back in list(model.graph.node):
        name = back.output[0].removesuffix(_RESTORED)
        if name == back.output[0] or not writing.is_float_around(name, back):
            continue
        factors = numpy_helper.to_array(writing.constants[back.input[1]]).reshape(-1)
        inverse = np.asarray(1 / factors, np.float32)
        writing.divide_outputs(writing.nodes[back.input[0]], f"{name}/undivided", inverse)
        for reader in model.graph.node:
            if name in reader.input:
                writing.multiply_inputs(reader, inverse)
        for node in model.graph.node:
            if node.op_type == "Sigmoid" and node.input[0] == back.output[0]:
                node.input[0] = back.input[0]
        model.graph.node.remove(back)
    read = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)


def _divide(
    model: onnx.ModelProto,
    topology: Topology,
    conv: onnx.NodeProto,
    name: str,
    factors: npt.NDArray[np.float32],
) -> None:
    """Divide the outputs of a Conv and make up for it behind its activation, in `model`."""
    writing = _Writing(model)
    made = writing.nodes[conv.output[0]]
    writing.divide_outputs(made, f"{name}/divided", factors)
    for reader in topology.consumers[name]:
        writing.multiply_inputs(writing.nodes[reader.output[0]], factors)
    x = silu_input(topology, topology.producer[name])
    if x is not None:
        gate = next(n for n in model.graph.node if n.op_type == "Sigmoid" and n.input[0] == x)
        ones = (1,) * (len(writing.constants[made.input[1]].dims) - 2)
        factor = writing.add(f"{name}/factors", factors.reshape(1, -1, *ones))
        back = helper.make_node("Mul", [x, factor], [name + _RESTORED], name=name + _RESTORED)
        gate.input[0] = back.output[0]
        model.graph.node.insert(list(model.graph.node).index(gate), back)


class _Writing:
    """The nodes and constants of a model that is changed."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._stored = model.graph.initializer
        self.nodes = {node.output[0]: node for node in model.graph.node}
        self.constants = {tensor.name: tensor for tensor in model.graph.initializer}

    def is_float_around(self, name: str, back: onnx.NodeProto) -> bool:
        """Return whether only float32 convolutions make and read `name`, x * sigmoid(`back`)."""
        conv = self.nodes.get(back.input[0])
        readers = [node for node in self.nodes.values() if name in node.input]
        gated = self.nodes.get(name)
        return (
            conv is not None
            and gated is not None
            and conv.output[0] in gated.input
            and back.input[1] in self.constants
            and all(self._is_float(node) for node in (conv, *readers))
        )

    def _is_float(self, node: onnx.NodeProto) -> bool:
        """Return whether it is a convolution with weights that are there as they are."""
        return node.op_type == "Conv" and all(name in self.constants for name in node.input[1:])

    def divide_outputs(
        self, conv: onnx.NodeProto, name: str, factors: npt.NDArray[np.float32]
    ) -> None:
        """Divide the channels (C,) that a Conv makes; its weights are called `name` then."""
        weights = self._read(conv.input[1])
        bias = self._read(conv.input[2]) if len(conv.input) > 2 else np.zeros_like(factors)  # noqa: PLR2004
        divided = weights / factors.reshape(-1, *(1,) * (weights.ndim - 1))
        del conv.input[1:]
        conv.input.extend([self.add(name, divided), self.add(f"{name}/bias", bias / factors)])

    def multiply_inputs(self, conv: onnx.NodeProto, factors: npt.NDArray[np.float32]) -> None:
        """Let a Conv multiply the channels (C,) that it reads."""
        weights = self._read(conv.input[1])
        grouped = weights.reshape(cast("int", attribute(conv, "group", 1)), -1, *weights.shape[1:])
        more = grouped * factors.reshape(len(grouped), 1, -1, *(1,) * (weights.ndim - 2))
        name = f"{conv.output[0]}/multiplied"
        while name in self.constants:
            name += "/again"
        conv.input[1] = self.add(name, more.reshape(weights.shape))

    def add(self, name: str, values: npt.NDArray[np.float32]) -> str:
        """Store a constant; return its name."""
        kept = np.ascontiguousarray(values, np.float32)
        self.constants[name] = numpy_helper.from_array(kept, name)
        self._stored.append(self.constants[name])
        return name

    def _read(self, tensor: str) -> npt.NDArray[np.float32]:
        return numpy_helper.to_array(self.constants[tensor]).astype(np.float32)
