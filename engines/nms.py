"""Greedy non-maximum suppression as plain ONNX ops.

`sup[i, j]` is 1 where box i comes before box j in score order, has the same label and overlaps it
by more than the IoU threshold. Greedy NMS is the fixed point of `keep = 1 - min(1, keep @ sup)`:
a box stays if no box that stays suppresses it. From all ones, step t settles every box whose
longest chain of suppressors has less than t links. So `STEPS` steps equal greedy NMS but for a
"staircase" of boxes that each overlap the next only: from its box number `STEPS` on (counted from
0) every one is kept, where greedy NMS keeps every other one. Random dense layouts were seen to need
10 steps at most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engines.graph import GraphBuilder

IOU = 0.45
"""Above it boxes of one label are one object, where a family says nothing else."""

STEPS = 16
"""Unrolled steps: NMS is exact for chains of up to this many boxes."""


def suppress(  # noqa: PLR0913, PLR0917 - the tensors and constants of NMS
    graph: GraphBuilder, boxes: str, scores: str, labels: str | None, slots: int, iou: float
) -> str:
    """Append NMS; return the scores, float32 (B, K), with 0 where a box was suppressed.

    `boxes` float32 (B, K, 4) xyxy, `scores` float32 (B, K) in descending order (ties: the earlier
    slot wins), `labels` int32 (B, K), None where all are of one; K is `slots`. Slots are not
    moved. A slot that scores 0 must come after all that do not, and then suppresses nothing that
    counts.
    """
    sup = _suppressors(graph, boxes, labels, iou)
    # Before the first step every box is kept.
    keep = graph.constant(np.ones((1, 1, slots)))
    for _ in range(STEPS):
        hits = graph.op("MatMul", keep, sup)
        # max(0, min(1, 1 - hits)) in one op.
        keep = graph.op("HardSigmoid", hits, alpha=-1.0, beta=1.0)
    return graph.op("Mul", scores, graph.squeeze(keep, 1))


def _suppressors(graph: GraphBuilder, boxes: str, labels: str | None, iou: float) -> str:
    """Return `sup`, float32 (B, K, K)."""
    overlap = _overlaps(graph, boxes, iou)
    if labels is not None:
        same = graph.op("Equal", graph.unsqueeze(labels, 2), graph.unsqueeze(labels, 1))
        overlap = graph.op("And", overlap, same)
    # Trilu, as a mask is a (K, K) constant: folded into the file where it is not given as one.
    before = graph.op("Trilu", overlap, graph.constant(1, np.int64), upper=1)
    return graph.op("Cast", before, to=1)


def _overlaps(graph: GraphBuilder, boxes: str, iou: float) -> str:
    """Return whether IoU > `iou`, bool (B, K, K).

    shared / (a + b - shared) > t  is  shared > t / (1 + t) * (a + b): no division, and boxes
    without area overlap nothing.
    """
    column = graph.split(boxes, 2, 4)
    row = graph.split(graph.op("Transpose", boxes, perm=[0, 2, 1]), 1, 4)
    width = graph.op("Relu", _extent(graph, column, row, 0))
    # One clip is enough: without overlap in height the product is not positive.
    shared = graph.op("Mul", width, _extent(graph, column, row, 1))
    sides = (graph.op("Relu", graph.op("Sub", column[i + 2], column[i])) for i in (0, 1))
    area = graph.op("Mul", graph.op("Mul", *sides), graph.constant(iou / (1 + iou)))
    both = graph.op("Add", area, graph.op("Transpose", area, perm=[0, 2, 1]))
    return graph.op("Greater", shared, both)


def _extent(graph: GraphBuilder, column: list[str], row: list[str], axis: int) -> str:
    low = graph.op("Max", column[axis], row[axis])
    high = graph.op("Min", column[axis + 2], row[axis + 2])
    return graph.op("Sub", high, low)
