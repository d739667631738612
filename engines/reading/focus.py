"""Fold "Focus" stems into their convolution: YOLOX and early YOLOv5 start with one.

Focus takes every other pixel four times and stacks the four pictures as channels for a 3x3
convolution; a 6x6 convolution of stride 2 on the picture itself is the same sum of the same
products, without the strided copies (4 % of a YOLOX-nano's time).
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from onnx import helper, numpy_helper

from engines.graph import attribute, constants, producers, prune

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

_FOLDED = "edge/focus"
_HEIGHT, _WIDTH = 2, 3
_COLOURS, _STEP = 3, 2
_Place: TypeAlias = tuple[int, int, int]
"""Colour, and first row and column, of a picture that has every other pixel of the image."""
_PLAIN = {
    "strides": [1, 1],
    "pads": [1, 1, 1, 1],
    "dilations": [1, 1],
    "group": 1,
    "auto_pad": b"NOTSET",
}


def fold_focus(model: onnx.ModelProto, image: str) -> bool:
    """Fold the stem in place where the graph has one; return whether it had."""
    graph = model.graph
    made_by, known = producers(graph), constants(graph)
    for node in graph.node:
        weights = known.get(node.input[1]) if node.op_type == "Conv" else None
        if weights is None:
            continue
        places = _places(made_by, known, node.input[0], image)
        kernel = numpy_helper.to_array(weights)
        if _is_focus(node, places, kernel):
            spread = _spread(kernel, places)
            graph.initializer.append(numpy_helper.from_array(spread, _FOLDED))
            node.input[0], node.input[1] = image, _FOLDED
            del node.attribute[:]
            node.attribute.extend(
                helper.make_attribute(name, value)
                for name, value in (
                    ("kernel_shape", [6, 6]),
                    ("strides", [2, 2]),
                    ("pads", [2, 2, 2, 2]),
                )
            )
            prune(graph)
            return True
    return False


def has_focus(model: onnx.ModelProto) -> bool:
    """Return whether the network had such a stem before it was folded."""
    return _FOLDED in constants(model.graph)


def _is_focus(conv: onnx.NodeProto, places: list[_Place], kernel: npt.NDArray[np.float32]) -> bool:
    return (
        sorted(places) == list(product(range(_COLOURS), range(_STEP), range(_STEP)))
        and kernel.shape[1:] == (len(places), 3, 3)
        and all(attribute(conv, name, value) == value for name, value in _PLAIN.items())
    )


def _places(
    made_by: dict[str, onnx.NodeProto],
    known: dict[str, onnx.TensorProto],
    tensor: str,
    image: str,
) -> list[_Place]:
    """Return what each channel of `tensor` takes of the image; none where it is not so.

    Four Slices joined, or SpaceToDepth, which ONNX Runtime makes of them, and its order by Gather.
    """
    node = made_by.get(tensor)
    if node is not None and node.op_type == "Concat" and attribute(node, "axis") == 1:
        offsets = [_offset(made_by, known, part, image) for part in node.input]
        return [(c, *offset) for offset in offsets if offset for c in range(_COLOURS)]
    order = np.arange(_COLOURS * _STEP**2)
    if node is not None and node.op_type == "Gather" and attribute(node, "axis", 0) == 1:
        index = known.get(node.input[1])
        order = order[:0] if index is None else numpy_helper.to_array(index).ravel()
        node = made_by.get(node.input[0])
    if (
        node is None
        or node.op_type != "SpaceToDepth"
        or node.input[0] != image
        or attribute(node, "blocksize") != _STEP
    ):
        return []
    # Its channels are blocks of the picture's, row by row.
    blocks = ((int(i) % _COLOURS, int(i) // _COLOURS) for i in order)
    return [(colour, *divmod(block, _STEP)) for colour, block in blocks]


def _offset(
    made_by: dict[str, onnx.NodeProto],
    known: dict[str, onnx.TensorProto],
    tensor: str,
    image: str,
) -> tuple[int, int] | None:
    """Return (y, x) where `tensor` is `image[:, :, y::2, x::2]` by Slices, else None."""
    starts: dict[int, int] = {}
    while tensor != image:
        node = made_by.get(tensor)
        if node is None or node.op_type != "Slice" or len(node.input) != 5:  # noqa: PLR2004
            return None
        if any(name not in known for name in node.input[1:]):
            return None
        columns = (numpy_helper.to_array(known[name]).tolist() for name in node.input[1:])
        for start, end, axis, step in zip(*columns, strict=True):
            if axis in starts or step != _STEP or end < np.iinfo(np.int32).max:
                return None
            starts[axis] = start
        tensor = node.input[0]
    return (starts[_HEIGHT], starts[_WIDTH]) if starts.keys() == {_HEIGHT, _WIDTH} else None


def _spread(kernel: npt.NDArray[np.float32], places: list[_Place]) -> npt.NDArray[np.float32]:
    """Return the (O, 3, 6, 6) kernel of stride 2 for the (O, 12, 3, 3) one behind Focus."""
    spread = np.zeros((len(kernel), _COLOURS, 6, 6), np.float32)
    for channel, (colour, y, x) in enumerate(places):
        spread[:, colour, y::_STEP, x::_STEP] = kernel[:, channel]
    return spread
