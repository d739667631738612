"""TensorFlow's object detection exports: take off the resizer in front and the NMS behind.

Converted by tf2onnx, such a graph begins with a Loop that resizes each image of the batch and ends
with a Loop, or with bare operators, around NonMaxSuppression: neither has static shapes. Between
them is the network that was trained. What is cut is not believed from names: the tensors in front
of the NMS are found by running the graph, and the resizer goes only where, at the size it resizes
to, it was seen to change nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import prune, shape_of
from engines.image_input import channels_last

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
BOXES, SCORES = "raw_boxes", "raw_scores"
"""The outputs of a graph without its NMS: (1, N, 4) and (1, N, labels)."""
_PROBES = ((192, 256), (320, 224))
_SAME = 0.01
_BOX = 4


def is_tensorflow(outputs: Iterable[str]) -> bool:
    """Return whether outputs have the names that TensorFlow's detection models give them."""
    names = list(outputs)
    return all(any(wanted in name for name in names) for wanted in OUTPUTS)


def cut(
    model: onnx.ModelProto, image: onnx.ValueInfoProto, size_wh: tuple[int, int] | None
) -> None:
    """Leave the trained network of such a model, with the outputs `BOXES` and `SCORES`.

    Where the image's size is open and the resizer's is not, that becomes the image's. A model is
    left as it is where the NMS, or what it is fed with, is not found.
    """
    graph = model.graph
    nms = next((node for node in graph.node if _holds(node, "NonMaxSuppression")), None)
    if nms is None:
        return
    resized = _resizer(model, image)
    size = resized[1] if resized else size_wh or _fixed(image)
    fed = None if size is None else _fed(model, image, nms, size)
    if fed is None:
        return
    if resized is not None:
        _take_off(model, image, *resized)
    _publish(graph, fed)
    del graph.value_info[:]
    prune(graph)


def _holds(node: onnx.NodeProto, op_type: str) -> bool:
    return any(inner.op_type == op_type for inner in _nodes(node))


def _nodes(node: onnx.NodeProto) -> Iterable[onnx.NodeProto]:
    yield node
    for item in node.attribute:
        if item.HasField("g"):
            for inner in item.g.node:
                yield from _nodes(inner)


def _resizer(
    model: onnx.ModelProto, image: onnx.ValueInfoProto
) -> tuple[str, tuple[int, int]] | None:
    """Return the tensor that has one size whatever the image's, and that size."""
    if _fixed(image) is not None:
        return None
    names = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            break
        if _holds(node, "Resize"):
            names += [name for name in node.output if name]
    if not names:
        return None
    found = [_run(model, image, names, size) for size in _PROBES]
    for name, one, other in zip(names, *found, strict=True):
        shape = np.shape(one)
        if len(shape) == 4 and shape == np.shape(other):  # noqa: PLR2004
            height, width = shape[1:3] if shape[3] == 3 else shape[2:]  # noqa: PLR2004
            return name, (int(width), int(height))
    return None


def _take_off(
    model: onnx.ModelProto, image: onnx.ValueInfoProto, tensor: str, size_wh: tuple[int, int]
) -> None:
    """Let what reads the resized `tensor` read the image, if at that size the two are the same."""
    (found,) = _run(model, image, [tensor], size_wh)
    given = _noise(image, size_wh)[image.name]
    for perm in ((0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 3, 1)):
        moved = given.transpose(perm)
        if found.shape == moved.shape and np.abs(found - moved).max() < _SAME:
            _read_instead(model.graph, tensor, image.name, perm)
            sides = (1, 2) if channels_last(shape_of(image)) else (2, 3)
            for side, length in zip(sides, size_wh[::-1], strict=True):
                image.type.tensor_type.shape.dim[side].dim_value = length
            return


def _fed(
    model: onnx.ModelProto, image: onnx.ValueInfoProto, nms: onnx.NodeProto, size: tuple[int, int]
) -> tuple[str, str, bool] | None:
    """Return the tensors of all boxes and of all scores, and whether labels come before N."""
    names = sorted(_read_from_outside(nms, {name for n in model.graph.node for name in n.output}))
    values = dict(zip(names, _run(model, image, names, size), strict=True))
    boxes = [n for n, v in values.items() if v.ndim >= 3 and v.shape[-1] == _BOX and v.size > _BOX]  # noqa: PLR2004
    for box in boxes:
        count = values[box].shape[1]
        if values[box].size != count * _BOX:
            continue  # a box per label
        scores = [
            (value.size, name, value.shape[1] != count)
            for name, value in values.items()
            if value.ndim == 3 and count in value.shape[1:] and name != box  # noqa: PLR2004
        ]
        if scores:
            # The scores with the background lie beside those without.
            _, score, turned = min(scores)
            return box, score, turned
    return None


def _read_from_outside(node: onnx.NodeProto, outside: set[str]) -> set[str]:
    return {name for inner in _nodes(node) for name in inner.input if name in outside}


def _publish(graph: onnx.GraphProto, pair: tuple[str, str, bool]) -> None:
    boxes, scores, turned = pair
    shape = helper.make_tensor(f"{BOXES}/shape", TensorProto.INT64, [3], [0, -1, _BOX])
    graph.initializer.append(shape)
    graph.node.append(helper.make_node("Reshape", [boxes, shape.name], [BOXES], BOXES))
    if turned:
        graph.node.append(helper.make_node("Transpose", [scores], [SCORES], SCORES, perm=[0, 2, 1]))
    else:
        graph.node.append(helper.make_node("Identity", [scores], [SCORES], SCORES))
    del graph.output[:]
    for name in (BOXES, SCORES):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def _read_instead(graph: onnx.GraphProto, tensor: str, image: str, perm: tuple[int, ...]) -> None:
    """Let what reads `tensor` read the image, with its axes moved."""
    moved = f"{image}/moved"
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == tensor:
                node.input[position] = moved
    nodes = [helper.make_node("Transpose", [image], [moved], moved, perm=perm), *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _fixed(image: onnx.ValueInfoProto) -> tuple[int, int] | None:
    shape = shape_of(image)
    height, width = shape[1:3] if channels_last(shape) else shape[2:]
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return width, height
    return None


def _noise(image: onnx.ValueInfoProto, size_wh: tuple[int, int]) -> dict[str, npt.NDArray[Any]]:
    width, height = size_wh
    kind = np.uint8 if image.type.tensor_type.elem_type == TensorProto.UINT8 else np.float32
    shape = (1, height, width, 3) if channels_last(shape_of(image)) else (1, 3, height, width)
    return {image.name: np.random.default_rng(0).integers(0, 256, shape).astype(kind)}


def _run(
    model: onnx.ModelProto, image: onnx.ValueInfoProto, names: Sequence[str], size: tuple[int, int]
) -> list[npt.NDArray[Any]]:
    """Return what tensors hold on noise, 0..255, of a size."""
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name in names:
        probe.graph.output.append(helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found: list[npt.NDArray[Any]] = session.run(None, _noise(image, size))
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise ModelError(
            f"TensorFlow model: ONNX Runtime cannot run it at {size[0]}x{size[1]}: "
            f"{str(error).splitlines()[0]}",
            "convert it again with a newer tf2onnx; the graph must run in ONNX Runtime",
        ) from error
    return found
