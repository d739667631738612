"""What scales and shifts a rectifier's output goes into convolutions: conv, ReLU, * s, + b.

Every step of such a chain would be rounded to 8 bits by itself, and be a pass over all the values.
Since s * relu(x) is relu(s * x) for s > 0, and relu(x) + b is max(x + b, b), the convolution before
can do it, and for the shift the one behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .convolution import weights_of
from .covariance import window_of
from .rewriting import Rewriting
from .topology import Topology

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

_HOMOGENEOUS = frozenset({"Relu", "LeakyRelu"})


def absorbed(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph that computes the same, with scaled and shifted rectifiers folded away."""
    topology = Topology(model)
    written = Rewriting(model)
    for conv in topology.nodes:
        if conv.op_type != "Conv" or weights_of(topology, conv) is None:
            continue
        rectifier = _only_reader(topology, conv.output[0])
        if rectifier is not None and rectifier.op_type in _HOMOGENEOUS:
            tail = _scale(topology, written, conv, rectifier)
            _shift(topology, written, conv, rectifier, tail)
    return written.model


def _scale(
    topology: Topology, written: Rewriting, conv: onnx.NodeProto, rectifier: onnx.NodeProto
) -> str:
    """Absorb a multiplication behind a rectifier; return the original name of what is left."""
    name = rectifier.output[0]
    node = _only_reader(topology, name)
    factors = _constant(topology, node, "Mul", name)
    output = conv.output[0]
    channels = len(written.bias(output))
    if node is None or factors is None or factors.size not in (1, channels) or factors.min() <= 0:
        return str(name)
    if factors.size > 1 and not _per_channel(factors):
        return str(name)
    weights, flat = written.weights(output), factors.reshape(-1)
    column = flat.reshape(-1, *(1,) * (weights.ndim - 1))
    written.weigh(output, weights * column, written.bias(output) * flat)
    written.drop(node, name)
    return str(node.output[0])


def _shift(
    topology: Topology,
    written: Rewriting,
    conv: onnx.NodeProto,
    rectifier: onnx.NodeProto,
    name: str,
) -> None:
    """Absorb an addition behind a rectifier, whose output was called `name`."""
    node = _only_reader(topology, name)
    shift = _constant(topology, node, "Add", name)
    if node is None or shift is None or shift.size != 1:
        return
    value = np.float32(shift.reshape(-1)[0])
    readers = topology.consumers[node.output[0]]
    if readers and all(_without_borders(topology, reader, node.output[0]) for reader in readers):
        for reader in readers:
            output = reader.output[0]
            weights = written.weights(output)
            more = weights.reshape(len(weights), -1).sum(axis=1) * value
            written.weigh(output, weights, written.bias(output) + more)
    elif value <= 0 and rectifier.op_type == "Relu":
        # Zero, with which the next convolution pads, has to stay in the range.
        output = conv.output[0]
        written.weigh(output, written.weights(output), written.bias(output) + value)
        least = written.constant(f"{rectifier.output[0]}/least", np.asarray(value))
        clip = written.nodes[rectifier.output[0]]
        clip.op_type = "Clip"
        clip.input.append(least)
    else:
        return
    written.drop(node, rectifier.output[0])


def _only_reader(topology: Topology, name: str) -> onnx.NodeProto | None:
    readers = topology.consumers[name]
    return readers[0] if len(readers) == 1 and name not in topology.outputs else None


def _constant(
    topology: Topology, node: onnx.NodeProto | None, op: str, name: str
) -> npt.NDArray[np.float32] | None:
    """Return what `node` multiplies with or adds to tensor `name`, if it does that `op`."""
    if node is None or node.op_type != op or node.output[0] in topology.outputs:
        return None
    others = [other for other in node.input if other != name]
    values = topology.constant(others[0]) if len(others) == 1 else None
    return None if values is None else values.astype(np.float32)


def _per_channel(factors: npt.NDArray[np.float32]) -> bool:
    """Return whether factors are (C, 1, 1) or (1, C, 1, 1)."""
    return factors.ndim in (3, 4) and factors.shape[-3] == factors.size


def _without_borders(topology: Topology, reader: onnx.NodeProto, name: str) -> bool:
    """Return whether a convolution with constant weights pads nothing onto tensor `name`."""
    if reader.op_type != "Conv" or reader.input[0] != name:
        return False
    window = window_of(topology, reader)
    return window is not None and not any(window.pads)
