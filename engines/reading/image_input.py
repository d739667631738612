"""The input that takes the image, brought to float32 (B, 3, H, W) however the exporter wrote it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelError
from engines.graph import Shape, read_inside, shape_of

if TYPE_CHECKING:
    import onnx

    from engines.reading.model_file import Source

TARGET_SIZES = "orig_target_sizes"
"""An input, (B, 2), of the width and height that RT-DETR's line scales its boxes to."""
SCALE_FACTOR = "scale_factor"
"""An input, (B, 2), that PaddleDetection's models divide their boxes by."""
_IMAGE_SHAPE = "im_shape"
"""An input, (B, 2), of the height and width that they clip their boxes to."""
_MASK = "pixel_mask"
"""An input, (B, H, W), of the pixels that DETR is to see, as transformers exports it."""
COMPANIONS = (TARGET_SIZES, SCALE_FACTOR, _IMAGE_SHAPE, _MASK)
"""What a model may take beside its image."""
_RANK = 4
_COLOURS = 3
_KINDS = (TensorProto.FLOAT, TensorProto.UINT8)


def find_image(source: Source, model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """Return the graph's image input; `ModelError` where it has none."""
    found = {value.name: shape_of(value) for value in model.graph.input}
    value: onnx.ValueInfoProto
    for value in model.graph.input:
        shape = found[value.name]
        fits = len(shape) == _RANK and (_may_be_colours(shape[1]) or _may_be_colours(shape[3]))
        alone = len(shape) == _RANK - 1 and shape[0] == _COLOURS
        if (fits or alone) and value.type.tensor_type.elem_type in _KINDS:
            return value
    listed = ", ".join(f"{v.name}: {_kind(v)} {found[v.name]}" for v in model.graph.input)
    raise ModelError(
        f"model {source.path}: expected an image input, (batch, 3, height, width) or (batch, "
        f"height, width, 3) or (3, height, width), float32 or uint8, found {listed or 'none'}",
        "export the model with one image input of three colour channels",
    )


def _kind(value: onnx.ValueInfoProto) -> str:
    return str(TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def channels_last(shape: Shape) -> bool:
    """Return whether a (B, H, W, 3) is meant."""
    return len(shape) == _RANK and shape[1] != _COLOURS and shape[3] == _COLOURS


def to_planes(model: onnx.ModelProto, image: onnx.ValueInfoProto) -> None:
    """Make the input float32 (B, 3, H, W), and what reads it read what it had before."""
    image.type.tensor_type.elem_type = TensorProto.FLOAT
    shape = shape_of(image)
    if len(shape) < _RANK:
        zero = numpy_helper.from_array(np.array(0), f"{image.name}/first")
        model.graph.initializer.append(zero)
        back = helper.make_node("Gather", [image.name, zero.name], [""], axis=0)
        planes = [1, *shape]
    elif channels_last(shape):
        back = helper.make_node("Transpose", [image.name], [""], perm=[0, 2, 3, 1])
        planes = [shape[0], _COLOURS, shape[1], shape[2]]
    else:
        return
    back.output[0] = f"{image.name}/as_exported"
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            if name == image.name:
                node.input[position] = back.output[0]
    nodes = [back, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    image.CopyFrom(helper.make_tensor_value_info(image.name, TensorProto.FLOAT, planes))


def fix_companions(model: onnx.ModelProto, size_wh: tuple[int, int]) -> None:
    """Make constants of the inputs that only describe the frame: its size, and which pixels count.

    A letterboxed frame always has the network's own size and scale, and counts as a whole.
    """
    for value in list(model.graph.input):
        if value.name == TARGET_SIZES:
            values = np.array([size_wh])
        elif value.name == SCALE_FACTOR:
            values = np.ones((1, 2))
        elif value.name == _IMAGE_SHAPE:
            values = np.array([size_wh[::-1]])
        elif value.name == _MASK:
            rows, columns = (
                n if isinstance(n, int) and n > 0 else side
                for n, side in zip(shape_of(value)[1:], size_wh[::-1], strict=True)
            )
            values = np.ones((1, rows, columns))
        else:
            continue
        kind = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        model.graph.initializer.append(numpy_helper.from_array(values.astype(kind), value.name))
        model.graph.input.remove(value)


def drop_unread(model: onnx.ModelProto, image: str) -> None:
    """Remove the inputs that nothing reads, but for the image."""
    read = {name for node in model.graph.node for name in (*node.input, *read_inside(node))}
    for value in list(model.graph.input):
        if value.name not in {*read, image}:
            model.graph.input.remove(value)


def _may_be_colours(dimension: int | str) -> bool:
    return not isinstance(dimension, int) or dimension in (_COLOURS, -1, 0)
