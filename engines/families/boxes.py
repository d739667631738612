"""Boxes as the contract wants them, from what heads give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engines.graph import GraphBuilder

_XYXY_OF_CXCYWH = np.array(
    [[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32
)


def xyxy_of_cxcywh(graph: GraphBuilder, boxes: str) -> str:
    """Append the corners, (B, K, 4), of boxes (B, K, 4) given by centre, width and height."""
    return graph.op("MatMul", boxes, graph.constant(_XYXY_OF_CXCYWH))
