"""The region proposal network (arXiv 1506.01497): where an object may be, whatever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines import nms
from engines.faster_rcnn.boxes import anchors, decode

if TYPE_CHECKING:
    from engines.faster_rcnn.layers import Layers

PROPOSALS = 1000
"""Kept of all maps: torchvision's default, `rpn_post_nms_top_n_test`."""
_PER_LEVEL = 1000
"""Anchors of each map that enter NMS, torchvision's default. They stay as many where fewer
proposals are kept: a hundred anchors may lie on one thing, and small things would find no place."""
IOU = 0.7
_SMALLEST_PX = 1e-3
_SIDES = (32, 64, 128, 256, 512)
_SHAPES = 3
_HEAD = "rpn.head"


def proposals(
    layers: Layers,
    maps: list[str],
    sizes: list[tuple[int, int]],
    size_wh: tuple[int, int],
    most: int,
) -> tuple[str, str, int]:
    """Append the network over maps of `sizes` (h, w).

    Returns boxes (1, P, 4) xyxy in pixels, scores (1, P), 0 for what is none, and P: `most`, or
    as many as there are anchors.
    """
    graph = layers.graph
    per_cell = len(layers.weights[f"{_HEAD}.cls_logits.weight"])
    found = []
    for level, (tensor, size) in enumerate(zip(maps, sizes, strict=True)):
        # torchvision gives each map one side where there are five, and else all sides to each.
        sides = (_SIDES[level],) if per_cell == _SHAPES else _SIDES
        found.append(_of_level(layers, tensor, anchors(sides, size_wh, size), size_wh))
    boxes = graph.op("Concat", *(box for box, _, _ in found), axis=1)
    scores = graph.op("Concat", *(score for _, score, _ in found), axis=1)
    count = min(most, sum(number for _, _, number in found))
    best, index = graph.ops("TopK", 2, scores, graph.constant([count], np.int64), axis=1)
    return graph.gather_rows(boxes, index), best, count


def _of_level(
    layers: Layers, tensor: str, anchor: np.ndarray, size_wh: tuple[int, int]
) -> tuple[str, str, int]:
    graph = layers.graph
    for name in _convolutions(layers):
        tensor = layers.relu(layers.conv(tensor, name))
    logits = layers.conv(tensor, f"{_HEAD}.cls_logits")
    deltas = layers.conv(tensor, f"{_HEAD}.bbox_pred")
    flat = graph.reshape(graph.op("Transpose", logits, perm=[0, 2, 3, 1]), (1, -1))
    rows = graph.reshape(graph.op("Transpose", deltas, perm=[0, 2, 3, 1]), (1, -1, 4))
    count = min(_PER_LEVEL, len(anchor))
    best, index = graph.ops("TopK", 2, flat, graph.constant([count], np.int64), axis=1)
    base = graph.op("Gather", graph.constant(anchor), index, axis=0)
    boxes = decode(graph, base, graph.gather_rows(rows, index), (1.0, 1.0), size_wh)
    scores = graph.op("Sigmoid", best)
    kept = nms.suppress(graph, boxes, scores, None, count, IOU)
    size = graph.op("Sub", graph.slice(boxes, 2, 2, 4), graph.slice(boxes, 2, 0, 2))
    least = graph.op("Neg", graph.reduce_max(graph.op("Neg", size), 2))
    small = graph.op("Less", least, graph.constant(_SMALLEST_PX))
    return boxes, graph.op("Where", small, graph.constant(0.0), kept), count


def _convolutions(layers: Layers) -> list[str]:
    """Return the names of the head's convolutions; one before torchvision 0.13."""
    if layers.has(f"{_HEAD}.conv"):
        return [f"{_HEAD}.conv"]
    return [f"{_HEAD}.conv.{n}.0" for n in range(layers.count(f"{_HEAD}.conv.{{}}.0"))]
