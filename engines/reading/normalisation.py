"""LayerNormalization in operators that every runtime has.

It came with opset 17; TensorRT 8.6's parser was reported not to read it (NVIDIA/TensorRT #3657).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.graph import GraphBuilder, attribute, opset_of

if TYPE_CHECKING:
    import onnx

_LAST = -1
_EPSILON = 1e-5
_REDUCE_AXES_ARE_AN_ATTRIBUTE = 17


def spell_out(model: onnx.ModelProto) -> None:
    """Replace each normalisation over the last axis by its mean, variance, scale and shift."""
    if opset_of(model) > _REDUCE_AXES_ARE_AN_ATTRIBUTE:
        return
    nodes = list(model.graph.node)
    del model.graph.node[:]
    graph = GraphBuilder(model, "layernorm/")
    for node in nodes:
        if node.op_type == "LayerNormalization" and _is_plain(node):
            _normalise(graph, node)
            model.graph.node[-1].output[0] = node.output[0]
        else:
            model.graph.node.append(node)


def _is_plain(node: onnx.NodeProto) -> bool:
    return attribute(node, "axis", _LAST) == _LAST and len([n for n in node.output if n]) == 1


def _normalise(graph: GraphBuilder, node: onnx.NodeProto) -> None:
    tensor, scale, *shift = node.input
    mean = graph.op("ReduceMean", tensor, axes=[_LAST], keepdims=1)
    off = graph.op("Sub", tensor, mean)
    variance = graph.op("ReduceMean", graph.op("Mul", off, off), axes=[_LAST], keepdims=1)
    epsilon = graph.constant(attribute(node, "epsilon", _EPSILON))
    deviation = graph.op("Sqrt", graph.op("Add", variance, epsilon))
    scaled = graph.op("Mul", graph.op("Div", off, deviation), scale)
    if shift and shift[0]:
        graph.op("Add", scaled, shift[0])
