"""Which tensors of the body are quantised, and which of them must share one scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rectifiers import cut, rectified
from .tail import body, last_convolutions
from .topology import MOVES, attribute

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import onnx

    from .prelude import Prelude
    from .topology import Topology

INTEGER_OPS = (
    frozenset({"Add", "AveragePool", "Clip", "Conv", "GlobalAveragePool", "LeakyRelu", "Mul"})
    | frozenset({"HardSigmoid", "Relu", "Sigmoid"})
    | MOVES
)
"""What ONNX Runtime's CPU kernels compute in 8 bits, or fuse into such a kernel, and gain by it.

Attention (MatMul, Softmax) and what is computed from it stays float32 up to the next convolution.
"""
PROBABILITIES = frozenset({"HardSigmoid", "Sigmoid", "Softmax"})
"""Ops whose outputs span 0..1, whatever the frames."""


def integer_nodes(topology: Topology, prelude: Prelude) -> list[onnx.NodeProto]:
    """Return the nodes to compute in 8 bits.

    The last convolutions stay float32: their outputs are the logits and the boxes themselves.
    """
    nodes = body(topology)
    left = {node.output[0] for node in (*prelude.nodes, *last_convolutions(topology, nodes))}
    integer = {prelude.tensor}
    kept = []
    for node in nodes:
        if (
            node.op_type not in INTEGER_OPS
            or node.output[0] in left
            or not _padded_with_0(topology, node)
        ):
            continue
        if node.op_type == "Conv" or integer.issuperset(topology.activations([*node.input])):
            kept.append(node)
            integer.update(node.output)
    return kept


def moves_values(topology: Topology, node: onnx.NodeProto) -> bool:
    """Return whether a node's outputs hold nothing outside the range of its inputs.

    What rectifiers cut off at different values is not one range: each has to end where its own
    rectifier does, for then the integer kernel takes that in.
    """
    if node.op_type == "Resize":
        return attribute(node, "mode", b"nearest") != b"cubic"
    if node.op_type == "Concat":
        return len({cut(topology, name) for name in node.input}) == 1
    return node.op_type in MOVES


def _padded_with_0(topology: Topology, node: onnx.NodeProto) -> bool:
    """Return whether a node, if it is a Pad, adds zeros or what is there already."""
    if node.op_type != "Pad" or len(node.input) < 3 or not node.input[2]:  # noqa: PLR2004
        return True
    value = topology.constant(node.input[2])
    return value is not None and not value.any()


def groups(topology: Topology, nodes: list[onnx.NodeProto]) -> list[list[str]]:
    """Return the float32 tensors that the integer ops among `nodes` read or write.

    Tensors between which values only move (concatenation, slices, pooling, resizing) are one group:
    with one scale no value is rounded twice, and the move is a copy. What is rectified right behind
    a convolution or an addition is left out: the integer kernel takes the rectifier in.
    """
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent[name] != name:
            name = parent[name]
        return name

    for node in nodes:
        touched = topology.activations([*node.input, *node.output])
        touched = [name for name in touched if not rectified(topology, name)]
        for name in touched:
            parent.setdefault(name, name)
        if moves_values(topology, node):
            for name in touched[1:]:
                parent[root(name)] = root(touched[0])
    found: dict[str, list[str]] = {}
    for name in parent:
        found.setdefault(root(name), []).append(name)
    return list(found.values())


def measurable(topology: Topology, found: Iterable[Sequence[str]]) -> list[str]:
    """Return the tensors whose values must be seen to choose a range for every group."""
    return [
        name
        for group in found
        for name in sources(topology, group)
        if topology.producer[name].op_type not in PROBABILITIES
    ]


def sources(topology: Topology, group: Sequence[str]) -> list[str]:
    """Return the tensors of a group whose values are made, not moved there."""
    return [
        name
        for name in group
        if not moves_values(topology, topology.producer[name])
        or not any(read in group for read in topology.producer[name].input)
    ]
