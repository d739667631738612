"""A graph seen from its tensors: who makes each, who reads it, what is constant."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MOVES = frozenset(
    {"Concat", "Flatten", "MaxPool", "Reshape", "Slice", "Split", "Squeeze", "Transpose"}
    | {"Pad", "Resize", "Unsqueeze"}
)
"""Ops whose every output value lies between input values or is 0: one scale serves both sides."""


_FLOAT = onnx.TensorProto.FLOAT


class Topology:
    """The wiring of one graph, which must not change while this is in use."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self.nodes = tuple(graph.node)
        self.inputs = tuple(value.name for value in graph.input)
        self.outputs = tuple(value.name for value in graph.output)
        self.producer = {name: node for node in self.nodes for name in node.output if name}
        self.consumers: dict[str, list[onnx.NodeProto]] = defaultdict(list)
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(node)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        self._types = {
            value.name: value.type.tensor_type
            for value in (*inferred.input, *inferred.value_info, *inferred.output)
        }

    def constant(self, name: str) -> npt.NDArray[np.generic] | None:
        """Return a constant tensor's values, or None for anything computed."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def is_constant(self, name: str) -> bool:
        """Return whether a tensor is an initialiser."""
        return name in self._constants

    def is_activation(self, name: str) -> bool:
        """Return whether a tensor is computed and float32."""
        kind = self._types.get(name)
        return name in self.producer and kind is not None and kind.elem_type == _FLOAT

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's sides, 0 for one that is not fixed; empty where nothing is known."""
        kind = self._types.get(name)
        return () if kind is None else tuple(side.dim_value for side in kind.shape.dim)

    def activations(self, names: list[str]) -> list[str]:
        """Return the float32 computed tensors among `names`, in order, each once."""
        return [name for name in dict.fromkeys(names) if self.is_activation(name)]


def attribute(node: onnx.NodeProto, name: str, default: object = None) -> object:
    """Return the value of a node's attribute, or `default`."""
    for item in node.attribute:
        if item.name == name:
            return onnx.helper.get_attribute_value(item)
    return default


def silu_input(topology: Topology, node: onnx.NodeProto) -> str | None:
    """Return x when `node` computes x * sigmoid(x), or x * sigmoid(constant * x), else None."""
    if node.op_type != "Mul":
        return None
    for x, gate in (tuple(node.input), tuple(reversed(node.input))):
        maker = topology.producer.get(gate)
        if maker is None or maker.op_type != "Sigmoid":
            continue
        if maker.input[0] == x or scaled_input(topology, maker.input[0]) == x:
            return str(x)
    return None


def scaled_input(topology: Topology, name: str) -> str | None:
    """Return x where tensor `name` is x * constant, else None."""
    node = topology.producer.get(name)
    if node is None or node.op_type != "Mul":
        return None
    x, factor = node.input
    return str(x) if topology.is_constant(factor) else None
