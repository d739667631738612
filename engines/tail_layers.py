"""The layers that a graph's detection tail has become in TensorRT, for versions told per layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from calibration.tail import body
from calibration.topology import Topology

if TYPE_CHECKING:
    import tensorrt as trt


def named(graph: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with a name for every node: layers are found by it."""
    named = onnx.ModelProto()
    named.CopyFrom(graph)
    for index, node in enumerate(named.graph.node):
        node.name = node.name or f"{node.op_type}_{index}"
    return named


def tail_layers(network: trt.INetworkDefinition, graph: onnx.ModelProto) -> list[trt.ILayer]:
    """Return the layers that nothing of the graph's body comes after.

    A node may have become several layers, constants and reshapes under names of the parser's own:
    what the body does not need is of the tail.
    """
    of_body = {node.name for node in body(Topology(graph))}
    needed: set[str] = set()
    tail = []
    for layer in map(network.get_layer, reversed(range(network.num_layers))):
        outputs = {layer.get_output(i).name for i in range(layer.num_outputs)}
        if layer.name in of_body or outputs & needed:
            inputs = [layer.get_input(i) for i in range(layer.num_inputs)]
            needed |= {tensor.name for tensor in inputs if tensor is not None}
        else:
            tail.append(layer)
    return tail
