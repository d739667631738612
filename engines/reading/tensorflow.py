"""TensorFlow's object detection exports: take off the resizer in front and the NMS behind.

Converted by tf2onnx, such a graph begins with a Loop that resizes each image of the batch and ends
with NonMaxSuppression, once for each label, bare or in a Loop: neither has static shapes. Between
them is the network that was trained. What is cut is not believed from names: the tensors of all
boxes and of all scores are found by their shapes, upwards from the NMS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import prune
from engines.reading import embedded_nms, resizer
from engines.reading.as_exported import noise, shapes, size_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "num_detections")
BOXES, SCORES = "raw_boxes", "raw_scores"
"""The outputs of a graph without its NMS: (1, N, 4) and (1, N, labels)."""
_NMS = "NonMaxSuppression"
_SHAPES = {"Shape", "Size"}
_BOX = 4


def is_tensorflow(outputs: Iterable[str]) -> bool:
    """Return whether outputs have the names that TensorFlow's detection models give them."""
    names = list(outputs)
    return all(any(wanted in name for name in names) for wanted in OUTPUTS)


def cut(
    path: Path,
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    size_wh: tuple[int, int] | None,
) -> resizer.Resizer | None:
    """Leave the trained network of such a model, with the outputs `BOXES` and `SCORES`.

    Returns what was in front; the image gets its size. A model is left as it is where the NMS, or
    what it is fed with, is not found; `ModelError` where it has two stages, or none.
    """
    graph = model.graph
    inner = [each for node in graph.node for each in resizer.nested(node)]
    suppressing = [node for node in inner if node.op_type == _NMS]
    if not suppressing:
        if any(node.op_type in embedded_nms.NMS for node in inner):
            return None
        raise ModelError(
            f"model {path}: its outputs are those of TensorFlow's object detection API, without an "
            "NMS in front: a CenterNet, or another of that API which is no SSD",
            "take an SSD or EfficientDet of that API",
        )
    nms, parents = suppressing[-1], _parents(graph)
    first = {name for node in suppressing for name in node.output}
    if not first.isdisjoint(_above(parents, nms.input[:2], ())):
        raise ModelError(
            f"model {path}: an NMS proposes what another selects from: a Faster R-CNN of "
            "TensorFlow's object detection API, whose second stage has no static shapes",
            "take an SSD or EfficientDet of that API, or a Faster R-CNN of torchvision (.pth)",
        )
    resized = resizer.take_off(path, model, image, size_wh)
    size = size_of(image) or size_wh
    fed = None if size is None else _fed(model, image, nms, size)
    if fed is not None:
        _publish(graph, *fed)
        del graph.value_info[:]
        prune(graph)
    return resized


def _parents(graph: onnx.GraphProto) -> dict[str, Sequence[str]]:
    """Return what each tensor is made of, those of subgraphs too, what holds its values first."""
    found: dict[str, Sequence[str]] = {}
    for node in (inner for outer in graph.node for inner in resizer.nested(outer)):
        inputs: Sequence[str] = () if node.op_type in _SHAPES else list(node.input)
        if node.op_type == "Where":
            inputs = (*inputs[1:], inputs[0])
        found.update(dict.fromkeys(node.output, inputs))
        for body in (item.g for item in node.attribute if item.HasField("g")):
            # A Loop's body gives first whether to go on.
            given = body.output[1:] if node.op_type == "Loop" else body.output
            for name, value in zip(node.output, given, strict=False):
                found[name] = (value.name, *found[name])
            for value, name in zip(body.input, node.input, strict=False):
                found[value.name] = (name,)
    return found


def _above(
    parents: Mapping[str, Sequence[str]], tensors: Iterable[str], ends: Iterable[str]
) -> Iterator[str]:
    """Yield what `tensors` are made of, up to `ends`: each with all above it, before the next."""
    waiting, seen = [*reversed(list(tensors))], set(ends)
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        yield name
        waiting.extend(reversed(parents.get(name, ())))


def _fed(
    model: onnx.ModelProto, image: onnx.ValueInfoProto, nms: onnx.NodeProto, size: tuple[int, int]
) -> tuple[str, str] | None:
    """Return the tensors of all boxes and of all scores: of such shapes the nearest to the NMS."""
    parents = _parents(model.graph)
    outside = {name for node in model.graph.node for name in node.output}
    ends = {n for node in model.graph.node if node.op_type == "Conv" for n in node.output}
    boxes, scores = (
        [name for name in _above(parents, [tensor], ends) if name in outside]
        for tensor in nms.input[:2]
    )
    names = list(dict.fromkeys([*boxes, *scores]))
    found = shapes(model, image, noise(image, size), names)
    box = next((name for name in boxes if _are_boxes(found[name])), None)
    if box is None:
        return None
    score = next((name for name in scores if _are_scores(found[name], found[box][1])), None)
    return None if score in {None, box} else (box, str(score))


def _are_boxes(shape: tuple[int, ...]) -> bool:
    """Return whether it is (1, N, 4) or (1, N, 1, 4); not a box per label."""
    count = shape[1] if len(shape) > 2 else 0  # noqa: PLR2004
    return count > 1 and shape in {(1, count, _BOX), (1, count, 1, _BOX)}


def _are_scores(shape: tuple[int, ...], count: int) -> bool:
    return len(shape) == 3 and shape[:2] == (1, count)  # noqa: PLR2004


def _publish(graph: onnx.GraphProto, boxes: str, scores: str) -> None:
    shape = helper.make_tensor(f"{BOXES}/shape", TensorProto.INT64, [3], [0, -1, _BOX])
    graph.initializer.append(shape)
    graph.node.append(helper.make_node("Reshape", [boxes, shape.name], [BOXES], BOXES))
    graph.node.append(helper.make_node("Identity", [scores], [SCORES], SCORES))
    del graph.output[:]
    for name in (BOXES, SCORES):
        graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
