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
from engines.families.probe import values_of
from engines.graph import attribute, constants, producers, shape_of, tail_producers

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.model import Network

_BOX = 4
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

    def recognise(self, network: Network) -> Recognised | str:
        """Take two outputs of these shapes that on noise hold corners in pixels, and scores."""
        pair = find_pair(network)
        if pair is None:
            return (
                f"outputs {network.outputs}, expected boxes (1, N, 4) and scores (1, N, labels) or "
                "(1, labels, N)"
            )
        reason = self._why_not(network, pair) or _why_no_scores(network.model, pair.scores)
        reason = reason or self._why_not_seen(network, pair)
        if reason is not None:
            return reason
        evidence = (str(pair), "on noise they hold ordered corners in pixels, and sigmoids' scores")
        return Recognised(pair.labels, evidence, self._doubts(network, pair))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the best label of each, and the corners as they are."""
        pair = self.accepted(network, find_pair(network) or "its outputs are others")

        def boxes(index: str) -> str:
            return graph.gather_rows(pair.boxes, index)

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
        ordered = (boxes[..., 2:] >= boxes[..., :2]).all(-1).mean()
        spread = np.ptp(boxes[..., :2] + boxes[..., 2:], axis=(0, 1)) / 2
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
    shapes = network.outputs
    if not all(
        len(shape) == _RANK and all(isinstance(n, int) and n > 0 for n in shape[1:])
        for shape in shapes.values()
    ):
        return None
    if len(shapes) == 1:
        return _joined(network.model, *shapes)
    found = [
        Pair(boxes, scores, int(shapes[boxes][1]), int(shapes[scores][axis]), axis)
        for boxes, scores in (permutations(shapes, 2) if len(shapes) == 2 else ())  # noqa: PLR2004
        for axis in (_ROWS, _COLUMNS)
        if shapes[boxes][2] == _BOX and shapes[scores][_RANK - axis] == shapes[boxes][1]
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
    """Return the operator that makes distances of distributions: Conv, MatMul; None for neither.

    It takes the expectation: its constant is 0, 1, 2… (Generalized Focal Loss, 2006.04388).
    """
    known = constants(network.model.graph)
    for node in tail_producers(network.model.graph, pair.boxes):
        if node.op_type in {"Conv", "Gemm", "MatMul"} and node.input[1] in known:
            values = numpy_helper.to_array(known[node.input[1]])
            if values.size > 1 and max(values.shape) == values.size:
                steps = np.arange(values.size)
                if np.array_equal(values.ravel(), steps):
                    return "Conv" if node.op_type == "Conv" else "MatMul"
    return None


def takes_bytes(network: Network) -> bool:
    """Return whether the export's image is uint8: what it is normalised by is in the graph."""
    kinds = {v.name: v.type.tensor_type.elem_type for v in network.source.model.graph.input}
    return kinds.get(network.image) == onnx.TensorProto.UINT8


def _why_no_scores(model: onnx.ModelProto, scores: str) -> Close | None:
    """Return why a tensor holds no score of each label, or None where sigmoids lead to it alone."""
    made_by = producers(model.graph)
    waiting, seen, heard = [scores], set[str](), False
    while waiting:
        name = waiting.pop()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Sigmoid":
            heard = True
            continue
        if node.op_type in _MIXES:
            return Close(
                f"its scores come out of {node.op_type}, not out of sigmoids for each label"
            )
        waiting.extend(_values_into(node))
    return None if heard else Close("its scores come out of no sigmoid")


def _values_into(node: onnx.NodeProto) -> list[str]:
    if node.op_type == "Where":
        return list(node.input[1:])
    return list(node.input[:1] if node.op_type in _DATA else node.input)
