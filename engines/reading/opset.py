"""Bring a graph to opset 17, the newest that TensorRT 8.6 reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper, version_converter

from engines.graph import attribute, constants, opset_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Callable

OPSET = 17
OLDEST = 13
"""Below it axes are attributes, where our own operators take them as inputs."""

_TYPES_ONLY = frozenset(
    """
    Abs Acos Acosh Asin Asinh Atan Atanh Cast ConstantOfShape Constant Conv ConvTranspose Cos Cosh
    DepthToSpace Dropout Elu Equal EyeLike Flatten GlobalAveragePool GlobalMaxPool GRU HardSigmoid
    HardSwish Identity If InstanceNormalization IsInf IsNaN Loop LpNormalization LSTM MaxPool
    RNN Reshape RoiAlign Round Scan Selu Shape Sin Sinh Size Softplus Softsign Squeeze Tan
    ThresholdedRelu Transpose Unsqueeze
    """.split()  # noqa: SIM905 - a list of words is read as one
)
"""Operators that versions 18 to 22 allow more element types, and nothing else.

Source: ONNX's docs/Changelog.md, versions 18 to 22.
"""


def raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return an older model at opset 17; raises what onnx's converter raises where it cannot."""
    return model if opset_of(model) >= OPSET else version_converter.convert_version(model, OPSET)


def lowered(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a newer model at opset 17, or as it is where an operator has no older form.

    Its constants must have been folded: where lengths and axes became inputs, they are read.
    """
    found = opset_of(model)
    if found <= OPSET:
        return model
    older = onnx.ModelProto()
    older.CopyFrom(model)
    counts = _Splits(older)
    for node in older.graph.node:
        if not _lower(older, node, found, counts):
            return model
    del older.opset_import[:]
    older.opset_import.append(helper.make_opsetid("", OPSET))
    return older


class _Splits:
    """The lengths that a Split into equal parts gives, from inferred shapes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
        values = (*inferred.value_info, *inferred.input, *inferred.output)
        self._shapes = {value.name: shape_of(value) for value in values}

    def lengths(self, node: onnx.NodeProto) -> list[int] | None:
        """Return the length of each part along the split axis, or None where it is not known."""
        axis = attribute(node, "axis", 0)
        shapes = [self._shapes.get(name, ()) for name in node.output]
        lengths = [shape[axis] for shape in shapes if len(shape) > max(axis, -axis - 1)]
        fixed = [length for length in lengths if isinstance(length, int)]
        return fixed if len(fixed) == len(node.output) else None


def _lower(model: onnx.ModelProto, node: onnx.NodeProto, found: int, splits: _Splits) -> bool:
    """Write a node in its form of opset 17, in place; return whether it has one."""
    since = onnx.defs.get_schema(node.op_type, found).since_version
    if since <= OPSET or node.op_type in _TYPES_ONLY:
        return _without(node, "saturate")
    if node.op_type == "Split":
        return _split(model, node, splits)
    if node.op_type.startswith("Reduce"):
        return _reduce(model, node)
    same = _SAME_IF.get(node.op_type)
    return same is not None and same(node)


def _split(model: onnx.ModelProto, node: onnx.NodeProto, splits: _Splits) -> bool:
    if len(node.input) > 1 and node.input[1]:
        return _without(node, "num_outputs")
    lengths = splits.lengths(node)
    if lengths is None:
        return False
    name = f"edge/lengths_{node.output[0]}"
    model.graph.initializer.append(numpy_helper.from_array(np.array(lengths, np.int64), name))
    del node.input[1:]
    node.input.append(name)
    return _without(node, "num_outputs")


def _reduce(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Turn the axes from an input into an attribute."""
    if len(node.input) < 2 or not node.input[1]:  # noqa: PLR2004
        del node.input[1:]
        if attribute(node, "noop_with_empty_axes", 0):
            return False
        return _without(node, "noop_with_empty_axes")
    axes = constants(model.graph).get(node.input[1])
    if axes is None:
        return False
    node.attribute.append(helper.make_attribute("axes", numpy_helper.to_array(axes).tolist()))
    del node.input[1:]
    return _without(node, "noop_with_empty_axes")


def _without(node: onnx.NodeProto, *names: str) -> bool:
    kept = [item for item in node.attribute if item.name not in names]
    del node.attribute[:]
    node.attribute.extend(kept)
    return True


def _resize(node: onnx.NodeProto) -> bool:
    plain = (
        not attribute(node, "antialias", 0)
        and attribute(node, "axes") is None
        and attribute(node, "keep_aspect_ratio_policy", b"stretch") == b"stretch"
        and attribute(node, "coordinate_transformation_mode", b"") != b"half_pixel_symmetric"
    )
    return plain and _without(node, "antialias", "keep_aspect_ratio_policy")


def _pad(node: onnx.NodeProto) -> bool:
    return len(node.input) <= 3 and attribute(node, "mode", b"constant") != b"wrap"  # noqa: PLR2004


def _scatter(node: onnx.NodeProto) -> bool:
    return attribute(node, "reduction", b"none") in {b"none", b"add", b"mul"}


def _average_pool(node: onnx.NodeProto) -> bool:
    return set(attribute(node, "dilations", [1])) == {1} and _without(node, "dilations")


def _grid_sample(node: onnx.NodeProto) -> bool:
    older = {b"linear": "bilinear", b"cubic": "bicubic"}
    mode = attribute(node, "mode", b"linear")
    _without(node, "mode")
    node.attribute.append(helper.make_attribute("mode", older.get(mode, mode)))
    return True


_SAME_IF: dict[str, Callable[[onnx.NodeProto], bool]] = {
    "Resize": _resize,
    "Pad": _pad,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "AveragePool": _average_pool,
    "GridSample": _grid_sample,
}
