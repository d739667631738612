"""Greedy non-maximum suppression as plain ONNX ops.

`sup[i, j]` is 1 where box i comes before box j in score order, has the same label and overlaps it
by more than the IoU threshold. Greedy NMS is the fixed point of `keep = 1 - min(1, keep @ sup)`:
a box stays if no box that stays suppresses it. From all ones, step t settles every box whose
longest chain of suppressors has less than t links. So `STEPS` steps equal greedy NMS but for a
"staircase" of boxes that each overlap the next only: from its box number `STEPS` on (counted from
0) every one is kept, where greedy NMS keeps every other one. Random dense layouts were seen to need
10 steps at most.

Boxes are settled `BLOCK` by `BLOCK`, the best first: what an earlier block keeps suppresses once,
and only the chains within a block need steps. That is as exact, and of 1,024 boxes half the pairs
and a quarter of the entries are never looked at or stepped through: 2.5 ms on one thread for 4.6.

ONNX Runtime has greedy NMS as an operator that compares only what is still there: `as_operators`
puts it in, for the graph that no other runtime has to read. TensorRT has it as a plugin only.
"""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import onnx

from engines.graph import GraphBuilder, producers, prune

_log = logging.getLogger(__name__)

IOU = 0.45
"""Above it boxes of one label are one object, where a family says nothing else."""

STEPS = 16
"""Unrolled steps: NMS is exact for chains of up to this many boxes of one block."""
BLOCK = 256
"""Boxes settled together; 192 to 256 were the fastest for 512 to 2,048 boxes."""
SAID = "aisle-edge NMS "
"""What the last node of an NMS says of itself: this, and as JSON what it reads."""


def suppress(  # noqa: PLR0913, PLR0917 - the tensors and constants of NMS
    graph: GraphBuilder, boxes: str, scores: str, labels: str | None, slots: int, iou: float
) -> str:
    """Append NMS; return the scores, float32 (B, K), with 0 where a box was suppressed.

    `boxes` float32 (B, K, 4) xyxy, `scores` float32 (B, K) in descending order (ties: the earlier
    slot wins), `labels` int32 (B, K), None where all are of one; K is `slots`. Slots are not
    moved. A slot that scores 0 must come after all that do not, and then suppresses nothing that
    counts.
    """
    pairs = _Pairs(graph, boxes, labels, slots, iou)
    kept: list[str] = []
    for start in range(0, slots, BLOCK):
        kept.append(_settled(graph, pairs, kept, start, min(start + BLOCK, slots)))
    said = {"boxes": boxes, "labels": labels, "slots": slots, "iou": iou}
    keep = graph.squeeze(_joined(graph, kept), 1)
    return graph.op("Mul", scores, keep, doc_string=SAID + json.dumps(said))


def as_operators(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a graph with ONNX's NonMaxSuppression for each NMS in plain ops.

    The same boxes stay, but in staircases longer than `STEPS`, where greedy NMS is what this is.
    """
    written = onnx.ModelProto()
    written.CopyFrom(model)
    builder = GraphBuilder(written, "nms/")
    known = {value.name for value in model.graph.input} | producers(model.graph).keys()
    nodes = list(model.graph.node)
    del written.graph.node[:]
    for node in nodes:
        said = _said(node)
        gone = {said["boxes"], said["labels"] or said["boxes"]} - known if said else set()
        if said and not gone:
            _operator(builder, node, said)
            continue
        if gone:
            _log.warning(
                "an NMS stays in plain ops: the graph has lost %s", ", ".join(sorted(gone))
            )
        written.graph.node.append(node)
    prune(written.graph)
    return written


def _said(node: onnx.NodeProto) -> dict[str, Any]:
    """Return what a node says of the NMS that it ends, nothing if it ends none."""
    if not node.doc_string.startswith(SAID):
        return {}
    said: dict[str, Any] = json.loads(node.doc_string.removeprefix(SAID))
    return said


def _operator(graph: GraphBuilder, node: onnx.NodeProto, said: dict[str, Any]) -> None:
    """Append what makes the output of `node`, an NMS's last, with the operator."""
    scores, zero = node.input[0], graph.constant(0.0)
    corner = graph.slice(said["boxes"], 2, 0, 2)
    # The operator turns round a box whose sides are negative; here it has no area.
    opposite = graph.op("Max", corner, graph.slice(said["boxes"], 2, 2, 4))
    boxes = graph.op("Concat", corner, opposite, axis=2)
    rows = graph.unsqueeze(scores, 1)
    if said["labels"] is not None:
        rows = graph.op("Where", _of_each_label(graph, said["labels"]), rows, zero)
    limits = (
        graph.constant([said["slots"]], np.int64),
        graph.constant([said["iou"]]),
        graph.constant([0.0]),
    )
    chosen = graph.op("NonMaxSuppression", boxes, rows, *limits)
    # (frame, label, slot) each, of which there are as many as boxes stay.
    places = graph.op("Gather", chosen, graph.constant([0, 2], np.int64), axis=1)
    none = graph.op("ConstantOfShape", graph.op("Shape", scores))
    last = graph.op("ScatterND", none, places, graph.op("GatherND", scores, places))
    graph.publish(last, node.output[0])


def _of_each_label(graph: GraphBuilder, labels: str) -> str:
    """Return which slots have each label that may occur, bool (B, labels, K)."""
    one = graph.constant(1, np.int32)
    count = graph.op("Add", graph.op("ReduceMax", labels, keepdims=0), one)
    each = graph.op("Range", graph.constant(0, np.int32), count, one)
    return graph.op("Equal", graph.unsqueeze(labels, 1), graph.unsqueeze(each, 1))


def _settled(graph: GraphBuilder, pairs: _Pairs, kept: list[str], start: int, stop: int) -> str:
    """Return which boxes of a block stay, float32 (B, 1, n), given those that earlier ones keep."""
    overlap = pairs.overlap(start, stop)
    # Trilu, as a mask is a (K, K) constant: folded into the file where it is not given as one.
    later = graph.constant(1, np.int64)
    if not kept:
        sup = graph.op("Cast", graph.op("Trilu", overlap, later, upper=1), to=1)
        return _steps(graph, sup, graph.constant(np.ones((1, 1, stop))))
    overlap = graph.op("Cast", overlap, to=1)
    free = _not_hit(graph, _joined(graph, kept), graph.slice(overlap, 1, 0, start))
    sup = graph.op("Trilu", graph.slice(overlap, 1, start, stop), later, upper=1)
    # A box that an earlier one suppresses suppresses nothing.
    sup = graph.op("Mul", sup, graph.op("Transpose", free, perm=[0, 2, 1]))
    return graph.op("Mul", _steps(graph, sup, free), free)


def _steps(graph: GraphBuilder, sup: str, keep: str) -> str:
    for _ in range(STEPS):
        keep = _not_hit(graph, keep, sup)
    return keep


def _not_hit(graph: GraphBuilder, keep: str, sup: str) -> str:
    """Return 1 - min(1, keep @ sup): max(0, min(1, 1 - hits)) in one op."""
    return graph.op("HardSigmoid", graph.op("MatMul", keep, sup), alpha=-1.0, beta=1.0)


def _joined(graph: GraphBuilder, kept: list[str]) -> str:
    return kept[0] if len(kept) == 1 else graph.op("Concat", *kept, axis=2)


class _Pairs:
    """Every box beside every other: the K boxes as columns (B, K, 1) and as rows (B, 1, K)."""

    def __init__(
        self, graph: GraphBuilder, boxes: str, labels: str | None, slots: int, iou: float
    ) -> None:
        self._graph = graph
        self._slots = slots
        column = graph.split(boxes, 2, 4)
        row = graph.split(graph.op("Transpose", boxes, perm=[0, 2, 1]), 1, 4)
        sides = (graph.op("Relu", graph.op("Sub", column[i + 2], column[i])) for i in (0, 1))
        area = graph.op("Mul", graph.op("Mul", *sides), graph.constant(iou / (1 + iou)))
        self._column = [*column, area]
        self._row = [*row, graph.op("Transpose", area, perm=[0, 2, 1])]
        if labels is not None:
            self._column.append(graph.unsqueeze(labels, 2))
            self._row.append(graph.unsqueeze(labels, 1))

    def overlap(self, start: int, stop: int) -> str:
        """Return whether boxes 0 to `stop` overlap those from `start` on, bool (B, stop, n).

        shared / (a + b - shared) > t  is  shared > t / (1 + t) * (a + b): no division, and boxes
        without area overlap nothing.
        """
        graph = self._graph
        column = [self._part(tensor, 1, 0, stop) for tensor in self._column]
        row = [self._part(tensor, 2, start, stop) for tensor in self._row]
        width = graph.op("Relu", _extent(graph, column, row, 0))
        # One clip is enough: without overlap in height the product is not positive.
        shared = graph.op("Mul", width, _extent(graph, column, row, 1))
        overlap = graph.op("Greater", shared, graph.op("Add", column[4], row[4]))
        same = [graph.op("Equal", a, b) for a, b in zip(column[5:], row[5:], strict=True)]
        return graph.op("And", overlap, *same) if same else overlap

    def _part(self, tensor: str, axis: int, start: int, stop: int) -> str:
        whole = (start, stop) == (0, self._slots)
        return tensor if whole else self._graph.slice(tensor, axis, start, stop)


def _extent(graph: GraphBuilder, column: list[str], row: list[str], axis: int) -> str:
    low = graph.op("Max", column[axis], row[axis])
    high = graph.op("Min", column[axis + 2], row[axis + 2])
    return graph.op("Sub", high, low)
