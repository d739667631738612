"""Boxes: anchors, and what a network's four numbers make of one (R-CNN, arXiv 1311.2524)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder

_LARGEST_GROWTH = float(np.log(1000 / 16))
_RATIOS = (0.5, 1.0, 2.0)


def anchors(
    sides: tuple[int, ...], size_wh: tuple[int, int], map_hw: tuple[int, int]
) -> npt.NDArray[np.float32]:
    """Return a map's anchors, xyxy in pixels, float32 (h * w * A, 4): cell by cell.

    A is a shape per aspect ratio (1:2, 1:1, 2:1) and, within it, per side.
    """
    scales = np.array(sides, np.float64)
    tall = np.sqrt(_RATIOS)
    widths = (1 / tall[:, None] * scales).ravel()
    heights = (tall[:, None] * scales).ravel()
    shapes = np.round(np.stack([-widths, -heights, widths, heights], 1) / 2)
    rows, columns = map_hw
    y, x = np.mgrid[:rows, :columns]
    corner = np.stack([x.ravel() * (size_wh[0] // columns), y.ravel() * (size_wh[1] // rows)], 1)
    found = np.tile(corner, 2)[:, None] + shapes[None]
    return found.reshape(-1, 4).astype(np.float32)


def decode(
    graph: GraphBuilder,
    boxes: str,
    deltas: str,
    weights: tuple[float, float],
    size_wh: tuple[int, int],
) -> str:
    """Append the boxes (1, N, 4) moved and grown by `deltas` (1, N, 4), clipped to the image.

    `weights` divide the shifts and the growths.
    """
    low, high = graph.slice(boxes, 2, 0, 2), graph.slice(boxes, 2, 2, 4)
    size = graph.op("Sub", high, low)
    centre = graph.op("Add", low, graph.op("Mul", size, graph.constant(0.5)))
    shift = graph.op("Mul", graph.slice(deltas, 2, 0, 2), graph.constant(1 / weights[0]))
    growth = graph.op("Mul", graph.slice(deltas, 2, 2, 4), graph.constant(1 / weights[1]))
    growth = graph.op("Min", growth, graph.constant(_LARGEST_GROWTH))
    moved = graph.op("Add", graph.op("Mul", shift, size), centre)
    half = graph.op("Mul", graph.op("Mul", graph.op("Exp", growth), size), graph.constant(0.5))
    corners = graph.op("Concat", graph.op("Sub", moved, half), graph.op("Add", moved, half), axis=2)
    return graph.op(
        "Min", graph.op("Max", corners, graph.constant(0.0)), graph.constant(size_wh * 2)
    )
