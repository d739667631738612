"""The region head: what is in each proposal, and how its box is to be corrected."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engines.faster_rcnn.layers import Layers

_POOLED = 7
_SAMPLES = 2
_CANONICAL_PX, _CANONICAL_LEVEL = 224, 4
_ROUNDING = 1e-6
_HEAD = "roi_heads.box_head"
_PREDICTOR = "roi_heads.box_predictor"


def regions(
    layers: Layers, maps: list[tuple[str, int]], boxes: str, count: int
) -> tuple[str, str, int]:
    """Append the head over maps, each with its stride, and boxes (1, P, 4) in pixels.

    Returns logits (1, P, C), background first, deltas (1, P * C, 4), and C.
    """
    graph = layers.graph
    pooled = _pooled(layers, maps, graph.squeeze(boxes, 0), count)
    rows = _head(layers, pooled, count)
    classes = len(layers.weights[f"{_PREDICTOR}.cls_score.weight"])
    logits = graph.reshape(layers.linear(rows, f"{_PREDICTOR}.cls_score"), (1, count, classes))
    deltas = layers.linear(rows, f"{_PREDICTOR}.bbox_pred")
    return logits, graph.reshape(deltas, (1, count * classes, 4)), classes


def _pooled(layers: Layers, maps: list[tuple[str, int]], boxes: str, count: int) -> str:
    """Pool every box on every map, and take it from the map of its size (1612.03144, eq. 1)."""
    graph = layers.graph
    size = graph.op("Sub", graph.slice(boxes, 1, 2, 4), graph.slice(boxes, 1, 0, 2))
    sides = graph.split(size, 1, 2)
    side = graph.op("Sqrt", graph.op("Mul", *sides))
    side = graph.reshape(side, (count, 1, 1, 1))
    first_frame = graph.constant(np.zeros(count), np.int64)
    lowest = round(np.log2(maps[0][1]))
    highest = round(np.log2(maps[-1][1]))
    found = ""
    for level, (tensor, stride) in zip(range(lowest, highest + 1), maps, strict=False):
        here = graph.op(
            "RoiAlign",
            tensor,
            boxes,
            first_frame,
            output_height=_POOLED,
            output_width=_POOLED,
            sampling_ratio=_SAMPLES,
            spatial_scale=1 / stride,
            mode="avg",
            coordinate_transformation_mode="output_half_pixel",
        )
        least = _CANONICAL_PX * 2.0 ** (level - _CANONICAL_LEVEL - _ROUNDING)
        reaches = graph.op("GreaterOrEqual", side, graph.constant(least))
        found = graph.op("Where", reaches, here, found) if found else here
    return found


def _head(layers: Layers, pooled: str, count: int) -> str:
    """Append two linear layers, or convolutions and one linear layer: torchvision's v1 and v2."""
    if layers.has(f"{_HEAD}.fc6"):
        rows = layers.graph.reshape(pooled, (count, -1))
        for name in ("fc6", "fc7"):
            rows = layers.relu(layers.linear(rows, f"{_HEAD}.{name}"))
        return rows
    depth = layers.count(f"{_HEAD}.{{}}.0")
    for number in range(depth):
        name = f"{_HEAD}.{number}"
        pooled = layers.relu(layers.conv(pooled, f"{name}.0", f"{name}.1"))
    rows = layers.graph.reshape(pooled, (count, -1))
    # A flattening layer without weights is counted among them.
    return layers.relu(layers.linear(rows, f"{_HEAD}.{depth + 1}"))
