"""Exports with NMS in the graph: cut it off, and take what the network predicted before.

Such an NMS has shapes that depend on the picture, or is a TensorRT plugin: neither can be in a
contract graph, which brings its own. What the network predicted is a tensor through which all
that the NMS is fed with has come: one of its dominators in the graph. Which of them a family knows
is tried, nearest first. Where boxes and scores never were one tensor, these two are what it
predicted. Nothing is taken from names. So is cut what only keeps the best label of each box, as
exports for DeepStream do: how many labels there are stands in front of it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.graph import attribute, constants, producers, prune, shape_of, with_branches
from engines.reading.dominators import SHAPES, dominators

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

_MMDEPLOYS = "TRTBatchedNMS"
NMS = frozenset(
    {"NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT", "BatchedNMSDynamic_TRT"}
    | {_MMDEPLOYS}
)
"""The standard operator, and TensorRT's plugins; the last is MMDeploy's."""
_REMEDY = (
    "export it again without NMS: Ultralytics with nms=False, YOLOv5, v6, v7 without --end2end, "
    "--nms or --include-nms"
)
_log = logging.getLogger(__name__)

_RANK = 3
_ARITHMETIC = {"Add", "Concat", "Div", "MatMul", "Mul", "Sub"}
_PICKS = frozenset(
    {"Cast", "Clip", "Compress", "Expand", "Flatten", "Gather", "GatherElements", "GatherND"}
    | {"Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Ops whose first input holds values; the others say which of them, and in what shape."""
_CHOICES = {
    "Cast": 0, "Flatten": 0, "Gather": 0, "GatherElements": 0, "GatherND": 0, "Identity": 0,
    "Reshape": 0, "Squeeze": 0, "Transpose": 0, "Unsqueeze": 0, "Where": 1,
}  # fmt: skip
"""Ops that choose among candidates before an NMS, or turn them: which input has them all.

Not those that take a part of a candidate. A Where is a threshold, which leaves zeros."""
_LAST_STEPS = 6
"""Tensors that are tried before a network's outputs are believed to be no detections at all."""
_IOU = 3
"""Which input of NonMaxSuppression the threshold is."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A model without its NMS, whose outputs, one or two, are what that was fed with."""

    model: onnx.ModelProto
    tensors: tuple[str, ...]
    operator: str


def remedy(operators: Iterable[str]) -> str | None:
    """Return how to export a model again of which `operators` are no use; None without an NMS."""
    found = NMS.intersection(operators)
    if _MMDEPLOYS in found:
        return "export it with one of MMDeploy's deploy configs for ONNX Runtime, not TensorRT"
    return _REMEDY if found else None


def embedded(model: onnx.ModelProto) -> onnx.NodeProto | None:
    """Return the NMS of a model that has one, or the first of one for each frame of its batch.

    None for none or several otherwise, which are no YOLO's.
    """
    found = _all(model)
    return found[0] if found else None


def _all(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    found = [node for node in model.graph.node if node.op_type in NMS]
    batch = shape_of(model.graph.input[0])[:1] if model.graph.input else ()
    same = len({node.op_type for node in found}) == 1
    # A batch that was opened while the graph was traced has one for each frame of that time.
    for_each = same and (batch == (len(found),) or any(isinstance(n, str) for n in batch))
    return found if len(found) == 1 or for_each else []


def best_labels(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes of a model that say which label of each box is the best, and no other."""

    def counts_one(node: onnx.NodeProto) -> bool:
        if node.op_type != "TopK":
            return False
        if len(node.input) == 1:  # until opset 10 it is an attribute
            return bool(attribute(node, "k") == 1)
        count = _constant([model.graph], node.input[1])
        return count is not None and numpy_helper.to_array(count).tolist() == [1]

    return [node for node in model.graph.node if node.op_type == "ArgMax" or counts_one(node)]


def overlap(model: onnx.ModelProto) -> float | None:
    """Return the IoU that the model's NMS suppresses above, where that is one constant.

    Inside a branch, too: torchvision's exports look first whether there is anything to suppress.
    """
    graphs = list(with_branches(model.graph))
    found = [node for graph in graphs for node in graph.node if node.op_type in NMS]
    values = {_threshold(graphs, node) for node in found}
    return values.pop() if len(values) == 1 else None


def across_labels(model: onnx.ModelProto, predictions: str) -> bool:
    """Return whether boxes of different labels suppress one another in the model's NMS.

    The standard operator does so to boxes that are all of one class to it, unless they have been
    moved apart by their labels: they are not where nothing but `predictions`, the tensor it was cut
    off behind, and constants went into them.
    """
    nms = embedded(model)
    if nms is None:
        return False
    if nms.op_type != "NonMaxSuppression":
        return bool(attribute(nms, "class_agnostic", 0))
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {value.name: shape_of(value) for value in inferred.value_info}
    one_class = shapes.get(nms.input[1], ())[1:2] == (1,)
    return one_class and _is_geometry(model.graph, nms.input[0], predictions)


def _is_geometry(graph: onnx.GraphProto, tensor: str, predictions: str) -> bool:
    """Return whether a tensor holds values of `predictions`, picked, moved and scaled alike."""
    made_by, told = producers(graph), _told_by(graph, predictions)
    waiting = [tensor]
    while waiting:
        name = waiting.pop()
        node = made_by[name] if name in told else None
        told.discard(name)
        if node is None or _is_nothing(graph, node):
            continue
        if node.op_type not in _ARITHMETIC | _PICKS:
            return False
        waiting.extend(node.input[:1] if node.op_type in _PICKS else node.input)
    return True


def _told_by(graph: onnx.GraphProto, tensor: str) -> set[str]:
    """Return the tensors computed from the values of one, not from its shape only."""
    told = {tensor}
    for node in graph.node:
        if node.op_type not in SHAPES and not told.isdisjoint(node.input):
            told.update(node.output)
    return told - {tensor}


def _is_nothing(graph: onnx.GraphProto, node: onnx.NodeProto) -> bool:
    """Return whether a node gives zeros: labels times 0 is how some exporters leave them out."""
    found = [_constant([graph], name) for name in node.input] if node.op_type == "Mul" else []
    return any(tensor is not None and not numpy_helper.to_array(tensor).any() for tensor in found)


def cuts(model: onnx.ModelProto) -> Iterator[Cut]:
    """Yield the model cut at what may be its predictions: one tensor, the nearest first, or two.

    The two are its boxes and its scores, all of them before those that are left of a choice.
    """
    found = _all(model)
    chosen = [] if found else best_labels(model)
    if chosen:
        first = [node.input[0] for node in chosen]
        yield from _cut_above(model, [*first, *_outputs(model)], chosen[0].op_type)
    if not found:
        return
    fed = [name for node in found for name in node.input[:2]]
    yield from _cut_above(model, fed, found[0].op_type)
    made_by = producers(model.graph)
    if len(found) == 1 and set(fed) <= made_by.keys():
        ranks = _ranks(model)
        before = [_before_choices(made_by, ranks, name) for name in fed]
        for pair in dict.fromkeys(zip(*before, strict=False)):
            if len(set(pair)) == len(pair) and _are_all(model.graph, pair):
                yield _cut(model, pair, found[0].op_type)


def ends(model: onnx.ModelProto) -> Iterator[Cut]:
    """Yield a model without the last steps of it: such as split, turn or scale its predictions."""
    given = _outputs(model)
    nearest = (cut for cut in _cut_above(model, given, "end") if list(cut.tensors) != given)
    yield from islice(nearest, _LAST_STEPS)


def _cut_above(model: onnx.ModelProto, tensors: list[str], operator: str) -> Iterator[Cut]:
    """Yield the model cut at each tensor of rank 3 that all of `tensors` has come through."""
    ranks, made_by = _ranks(model), producers(model.graph)
    for tensor in dominators(model.graph, tensors):
        if made_by[tensor].op_type == "Conv":
            break
        if ranks.get(tensor, _RANK) == _RANK:
            yield _cut(model, (tensor,), operator)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    try:
        inferred = onnx.shape_inference.infer_shapes(model).graph
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        _log.info("no shapes are known: %s", error)  # why is said where it is loaded
        return {}
    return {value.name: len(shape_of(value)) for value in inferred.value_info if _known(value)}


def _outputs(model: onnx.ModelProto) -> list[str]:
    return [value.name for value in model.graph.output]


def _before_choices(
    made_by: Mapping[str, onnx.NodeProto], ranks: Mapping[str, int], tensor: str
) -> tuple[str, str]:
    """Return the tensor of all candidates that one was chosen from, and the nearest of its rank."""
    fitting, name = [], tensor
    while True:
        if ranks.get(name, _RANK) == _RANK:
            fitting.append(name)
        node = made_by.get(name)
        if node is None or node.op_type not in _CHOICES:
            break
        name = node.input[_CHOICES[node.op_type]]
    fitting = [name for name in fitting if name in made_by] or [tensor]
    return fitting[-1], fitting[0]


def _are_all(graph: onnx.GraphProto, tensors: tuple[str, ...]) -> bool:
    """Return whether all that the graph gives has come through `tensors`.

    Key points come another way; so do boxes that were only moved apart by label for the NMS.
    """
    told = {value.name for value in graph.input if len(shape_of(value)) > _RANK}
    for node in graph.node:
        if node.op_type not in SHAPES and not told.isdisjoint(node.input):
            told.update(set(node.output).difference(tensors))
    return told.isdisjoint(value.name for value in graph.output)


def _cut(model: onnx.ModelProto, tensors: tuple[str, ...], operator: str) -> Cut:
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.output[:], cut.graph.value_info[:]
    for tensor in tensors:
        cut.graph.output.append(onnx.helper.make_empty_tensor_value_info(tensor))
        cut.graph.output[-1].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    prune(cut.graph)
    return Cut(cut, tensors, operator)


def _known(value: onnx.ValueInfoProto) -> bool:
    return bool(value.type.tensor_type.HasField("shape"))


def _threshold(graphs: Sequence[onnx.GraphProto], nms: onnx.NodeProto) -> float | None:
    if nms.op_type != "NonMaxSuppression":
        value = attribute(nms, "iou_threshold", attribute(nms, "iouThreshold"))
        return None if value is None else _as_written(value)
    known = _constant(graphs, nms.input[_IOU] if len(nms.input) > _IOU else "")
    return None if known is None else _as_written(numpy_helper.to_array(known).item())


def _constant(graphs: Iterable[onnx.GraphProto], name: str) -> onnx.TensorProto | None:
    """Return a constant tensor, however it is stored; None for anything computed."""
    known = None
    for graph in graphs:
        known = constants(graph).get(name, known)
        for node in graph.node:
            if node.op_type == "Constant" and name in node.output:
                known = attribute(node, "value")
    return known


def _as_written(value: float) -> float:
    """Return 0.7 for the float32 nearest to it."""
    return float(str(np.float32(value)))
