"""Find the detection tail by structure: what no convolution follows stays float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

    from .topology import Topology

_REARRANGES = frozenset({"Reshape", "Transpose", "Squeeze", "Unsqueeze", "Split", "Slice"})

_TAKEN = {
    "RoiAlign": slice(0, 1),
    "Gather": slice(0, 1),
    "GatherElements": slice(0, 1),
    "GatherND": slice(0, 1),
    "Where": slice(1, 3),
    "TopK": slice(0, 0),
}
"""Which inputs of an op hold values; the others hold places. What TopK picks is all places."""


def body(topology: Topology) -> list[onnx.NodeProto]:
    """Return the nodes from which a real convolution can be reached, convolutions included.

    Everything else is the tail. The one-channel convolution that takes the expectation of a softmax
    (distribution focal loss) is arithmetic of the tail, not a real convolution: quantising any of
    the tail costs most detections.
    """
    leads_on: set[str] = set()
    nodes = []
    for node in reversed(topology.nodes):
        if _is_real_convolution(topology, node) or any(o in leads_on for o in node.output):
            leads_on.update(_data(node))
            nodes.append(node)
    return nodes[::-1]


def _data(node: onnx.NodeProto) -> list[str]:
    """Return the inputs whose values flow through a node: not those that say which to take.

    What makes the proposals of a Faster R-CNN (scores, boxes, TopK, NMS) is a tail of its own, even
    where convolutions follow its RoiAlign.
    """
    taken = _TAKEN.get(node.op_type)
    return [name for name in node.input[taken] if name] if taken else [*filter(None, node.input)]


def last_convolutions(topology: Topology, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the convolutions of a body that only the tail reads."""
    inside = {output for node in nodes for output in node.output}
    return [
        node
        for node in nodes
        if node.op_type == "Conv"
        and not any(consumer.output[0] in inside for consumer in topology.consumers[node.output[0]])
    ]


def influence(topology: Topology, nodes: list[onnx.NodeProto]) -> dict[str, float]:
    """Return per tensor of a body the share of the last convolutions that depend on it, 0..1."""
    last = [node.output[0] for node in last_convolutions(topology, nodes)]
    reached: dict[str, frozenset[str]] = {name: frozenset([name]) for name in last}
    for node in reversed(nodes):
        for name in node.output:
            behind = (
                reached.get(output, frozenset())
                for reader in topology.consumers[name]
                for output in reader.output
            )
            reached[name] = reached.get(name, frozenset()).union(*behind)
    return {name: len(found) / len(last) for name, found in reached.items()}


def _is_real_convolution(topology: Topology, node: onnx.NodeProto) -> bool:
    if node.op_type not in ("Conv", "ConvTranspose"):
        return False
    weights = topology.constant(node.input[1])
    one_channel = weights is not None and weights.shape[0] == 1
    return not (one_channel and _is_probability(topology, node.input[0]))


def _is_probability(topology: Topology, name: str) -> bool:
    node = topology.producer.get(name)
    while node is not None and node.op_type in _REARRANGES:
        node = topology.producer.get(node.input[0])
    return node is not None and node.op_type == "Softmax"
