"""Detectors whose boxes and scores are two tensors: corners in pixels, and a score per label.

Boxes (B, N, 4), xyxy in pixels of the input, and scores, (B, N, labels) or (B, labels, N), that
sigmoids make; or both in one, (B, N, 4 + labels). The families that export so differ in what they
were fed with, which few graphs show: where one does not, the user has to name the family.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.families.evidence import are_shares
from engines.families.family import Candidates, Close, Family, Recognised
from engines.families.grid import strides_of
from engines.families.probe import values_of
from engines.graph import attribute, constants, producers, shape_of, tail_producers, upwards

if TYPE_CHECKING:
    from collections.abc import Iterable

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX = 4
_YOLOV8_BINS = 16
_RANK = 3
_ROWS, _COLUMNS = 2, 1
"""Axis of the labels in scores (B, N, labels) and (B, labels, N)."""
_SPREAD = 1 / 4
"""Share of the image's width and height that boxes' centres, on noise, are spread over at least."""
_DATA = {"Gather", "GatherElements", "GatherND", "Reshape", "Slice", "Expand", "Split"}
"""Ops whose first input only holds values."""
_MIXES = {"ReduceMax", "ArgMax", "TopK", "Softmax", "Conv"}
"""What no score of one label comes out of after its sigmoid."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The tensors that hold N candidates' boxes and scores, and the axis that is the labels'."""

    boxes: str
    scores: str
    count: int
    labels: int
    axis: int

    joined: str | None = None
    """The output that joins them, where there is only one."""
    nested: bool = False
    """Whether the boxes are (B, N, 1, 4), as MMDetection leaves those of anchors."""

    def __str__(self) -> str:
        if self.joined is not None:
            return f"output {self.joined!r} is (1, {self.count}, 4 + {self.labels})"
        scores = [1, self.count, self.count]
        scores[self.axis] = self.labels
        shapes = f"(1, {self.count}, 4) and {tuple(scores)}"
        return f"outputs {self.boxes!r} and {self.scores!r} are {shapes}"


class BoxesAndScores(Family):
    """What they have in common; each says what else speaks for it."""

    ordered = 0.99
    """Share of boxes, on noise, whose second corner must lie behind the first."""
    heard_by = "Sigmoid"
    """The operator that makes their scores of logits."""

    def recognise(self, network: Network) -> Recognised | str:
        """Take two outputs of these shapes that on noise hold corners in pixels, and scores."""
        pair = find_pair(network)
        if pair is None:
            return (
                f"outputs {network.outputs}, expected boxes (1, N, 4) and scores (1, N, labels) or "
                "(1, labels, N)"
            )
        reason = self._why_not(network, pair)
        reason = reason or _why_no_scores(network.model, pair.scores, self.heard_by)
        reason = reason or self._why_not_seen(network, pair)
        if reason is not None:
            return reason
        evidence = (str(pair), "on noise they hold ordered corners in pixels, and scores in 0..1")
        return Recognised(pair.labels, evidence, self._doubts(network, pair))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the best label of each, and the corners as they are."""
        pair = self.accepted(network, find_pair(network) or "its outputs are others")

        corners = graph.reshape(pair.boxes, (0, -1, _BOX)) if pair.nested else pair.boxes

        def boxes(index: str) -> str:
            return graph.gather_rows(corners, index)

        def label(index: str) -> str:
            if pair.axis == _ROWS:
                chosen = graph.gather_rows(pair.scores, index)
            else:
                chosen = graph.gather_columns(pair.scores, index, pair.labels)
            return graph.op("ArgMax", chosen, axis=pair.axis, keepdims=0)

        return Candidates(pair.count, graph.reduce_max(pair.scores, pair.axis), boxes, label)

    @abstractmethod
    def _why_not(self, network: Network, pair: Pair) -> str | None:
        """Return what in the graph's structure says that it is another family's."""

    @abstractmethod
    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:
        """Return what could be otherwise, of a graph that may be this family's."""

    def _why_not_seen(self, network: Network, pair: Pair) -> Close | None:
        boxes, scores = values_of(network, [pair.boxes, pair.scores], self.preprocessing)
        low, high = boxes.reshape(-1, 2, 2).swapaxes(0, 1)
        ordered = (high >= low).all(-1).mean()
        with np.errstate(invalid="ignore", over="ignore"):  # on noise a size may be infinite
            spread = np.ptp(low + high, axis=0) / 2
        if ordered < self.ordered or (spread < _SPREAD * np.array(network.size_wh)).any():
            return Close(
                f"{pair.boxes!r} holds no corners in pixels: on noise {ordered:.0%} are ordered, "
                f"and their centres lie within {spread[0]:.3g} x {spread[1]:.3g}"
            )
        # NaN is of a broken model, not of another one: the build says where it comes from.
        return (
            None
            if are_shares(np.nan_to_num(scores))
            else Close(f"on noise {pair.scores!r} goes beyond 0..1")
        )


def find_pair(network: Network) -> Pair | None:
    """Return the boxes and scores where the outputs have their shapes."""
    nested = {name for name, shape in network.outputs.items() if shape[2:] == (1, _BOX)}
    shapes = {
        name: (*shape[:2], _BOX) if name in nested else shape
        for name, shape in network.outputs.items()
    }
    if not all(
        len(shape) == _RANK and all(isinstance(n, int) and n > 0 for n in shape[1:])
        for shape in shapes.values()
    ):
        return None
    if len(shapes) == 1:
        return _joined(network.model, *shapes)
    found = [
        Pair(
            boxes,
            scores,
            int(shapes[boxes][1]),
            int(shapes[scores][axis]),
            axis,
            nested=boxes in nested,
        )
        for boxes, scores in (permutations(shapes, 2) if len(shapes) == 2 else ())  # noqa: PLR2004
        for axis in (_ROWS, _COLUMNS)
        if shapes[boxes][2] == _BOX and shapes[scores][_RANK - axis] == shapes[boxes][1]
        if scores not in nested
    ]
    # Scores of four labels have the shape of boxes.
    found.sort(key=lambda pair: _why_no_scores(network.model, pair.scores) is not None)
    return found[0] if found else None


def _joined(model: onnx.ModelProto, output: str) -> Pair | None:
    """Return the boxes and the scores that the only output joins."""
    node = producers(model.graph).get(output)
    if node is None or node.op_type != "Concat" or attribute(node, "axis") not in (_ROWS, -1):
        return None
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph.value_info
    shapes = {value.name: shape_of(value) for value in inferred}
    parts = [shapes.get(name, ()) for name in node.input]
    if [len(part) for part in parts] != [_RANK, _RANK] or parts[0][_ROWS] != _BOX:
        return None
    _, count, labels = parts[1]
    if not isinstance(count, int) or not isinstance(labels, int) or min(count, labels) < 1:
        return None
    boxes, scores = node.input
    return Pair(boxes, scores, count, labels, _ROWS, joined=output)


def projected_by(network: Network, pair: Pair) -> str | None:
    """Return the operator that makes distances of distributions: Conv, MatMul; None for neither."""
    found = _projection(network, pair)
    return found[0] if found else None


def is_yolov8(network: Network, pair: Pair) -> bool:
    """Return whether it has a candidate per cell, whose distances are over 16 bins; GFL has 17."""
    in_cells = strides_of(network.size_wh, pair.count) is not None
    return in_cells and _projection(network, pair) == ("MatMul", _YOLOV8_BINS)


def _projection(network: Network, pair: Pair) -> tuple[str, int] | None:
    """Return the operator that takes distributions' expectation, and over how many bins.

    Its constant is 0, 1, 2… (Generalized Focal Loss, 2006.04388).
    """
    known = constants(network.model.graph)
    for node in tail_producers(network.model.graph, pair.boxes):
        if node.op_type in {"Conv", "Gemm", "MatMul"} and node.input[1] in known:
            values = numpy_helper.to_array(known[node.input[1]])
            if values.size > 1 and max(values.shape) == values.size:
                steps = np.arange(values.size)
                if np.array_equal(values.ravel(), steps):
                    return "Conv" if node.op_type == "Conv" else "MatMul", values.size
    return None


def _why_no_scores(model: onnx.ModelProto, scores: str, heard_by: str = "Sigmoid") -> Close | None:
    """Return why a tensor holds no score of each label, or None where sigmoids lead to it alone.

    Or another operator, where that is how a family is `heard_by`.
    """
    ends = {heard_by, *_MIXES}

    def into(node: onnx.NodeProto) -> Iterable[str]:
        return () if node.op_type in ends else _values_into(node)

    made_by = upwards(producers(model.graph), scores, into)
    met = [node.op_type for node in made_by if node.op_type in ends]
    if mixing := next((op for op in met if op != heard_by), None):
        return Close(f"its scores come out of {mixing}, not out of {heard_by} for each label")
    return None if met else Close(f"its scores come out of no {heard_by}")


def _values_into(node: onnx.NodeProto) -> list[str]:
    if node.op_type == "Where":
        return list(node.input[1:])
    return list(node.input[:1] if node.op_type in _DATA else node.input)
