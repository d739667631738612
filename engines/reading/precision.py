"""Bring a half- or double-precision network to float32, in which it is calibrated and compared."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.graph import with_branches

_OTHERS: dict[int, str] = {
    TensorProto.FLOAT16: "float16",
    TensorProto.BFLOAT16: "bfloat16",
    TensorProto.DOUBLE: "float64",
}
_KIND_ATTRIBUTES = {"to", "dtype"}
"""Attributes that hold an element type: of Cast, and of what makes tensors from nothing."""


def to_float32(model: onnx.ModelProto) -> list[str]:
    """Turn every weight, constant, cast and declared tensor of another precision into float32.

    In place; returns the names of the precisions that weights had, none where nothing was to do.
    """
    found: set[int] = set()
    for graph in with_branches(model.graph):
        for tensor in graph.initializer:
            found |= _convert(tensor)
        for value in (*graph.input, *graph.output, *graph.value_info):
            kind = value.type.tensor_type
            if kind.elem_type in _OTHERS:
                kind.elem_type = TensorProto.FLOAT
        for node in graph.node:
            for item in node.attribute:
                if item.HasField("t"):
                    _convert(item.t)
                elif item.name in _KIND_ATTRIBUTES and item.i in _OTHERS:
                    item.CopyFrom(helper.make_attribute(item.name, TensorProto.FLOAT))
    if found:
        _drop_idle_casts(model)
    return sorted(_OTHERS[kind] for kind in found)


def _convert(tensor: onnx.TensorProto) -> set[int]:
    kind = tensor.data_type
    if kind not in _OTHERS:
        return set()
    values = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return {kind}


def _drop_idle_casts(model: onnx.ModelProto) -> None:
    """Turn casts of what is float32 by now into Identity, which is folded away later."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    kinds = {tensor.name: tensor.data_type for tensor in inferred.initializer}
    for value in (*inferred.value_info, *inferred.input):
        kinds[value.name] = value.type.tensor_type.elem_type
    for node in model.graph.node:
        to_float = any(item.name == "to" and item.i == TensorProto.FLOAT for item in node.attribute)
        if node.op_type == "Cast" and to_float and kinds.get(node.input[0]) == TensorProto.FLOAT:
            node.op_type = "Identity"
            del node.attribute[:]
