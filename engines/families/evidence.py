"""What the values of an output say that its shape does not: seen on one frame of noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from engines.families.family import Close
from engines.families.grid import corners_and_strides

if TYPE_CHECKING:
    import numpy.typing as npt

_NEAR = 4.0
"""Strides that the median box centre of an untaught picture may lie off its cell's."""
_BOUND = 1.001
"""Strides that an anchor's box centre lies off its cell's at most: 2 * sigmoid - 0.5 is bounded."""
_FOLLOWS = 0.7
"""Correlation with the place of their cell that far corners have, and widths have not."""
_TURNED = 0.1
"""Share of widths and heights that may be negative: not all heads bound distances below."""
_SAME = 1e-6


def are_shares(values: npt.NDArray[Any]) -> bool:
    """Return whether all are numbers from 0 to 1, as what comes out of a sigmoid."""
    return bool(np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1 + _SAME)


def why_not_on_grid(
    boxes: npt.NDArray[Any], size_wh: tuple[int, int], strides: tuple[int, ...], anchors: int
) -> Close | None:
    """Return in a few words why (N, 4) are no boxes of the grid's cells, or None where they are.

    Boxes are cxcywh in pixels. With several `anchors` per cell, these are in blocks per stride,
    anchor by anchor, and their centres are bounded.
    """
    if not np.isfinite(boxes).all():
        return Close("its boxes are not finite numbers")
    corners, steps = _cells(size_wh, strides, anchors)
    middles = (corners + 0.5) * steps
    off = np.abs(boxes[:, :2].T - middles) / steps
    if (anchors > 1 and off.max() > _BOUND) or np.median(off) > _NEAR:
        return Close("its boxes' centres, in pixels, do not lie at their cells")
    if (boxes[:, 2:] < 0).mean() > _TURNED:
        return Close("its boxes' widths and heights are not positive")
    # At the smallest stride there are the most cells, and boxes the smallest.
    finest = steps[0] == strides[0]
    last, cell = boxes[finest, 2:].T, middles[:, finest]
    if all(_correlation(last[axis], cell[axis]) > _FOLLOWS for axis in (0, 1)):
        return Close("its boxes are corners, not centre, width and height")
    return None


def _cells(
    size_wh: tuple[int, int], strides: tuple[int, ...], anchors: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    levels = [corners_and_strides(size_wh, (stride,)) for stride in strides]
    corners, steps = (np.hstack([np.tile(one[i], anchors) for one in levels]) for i in (0, 1))
    return corners, steps


def _correlation(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> float:
    if np.ptp(one) < _SAME or np.ptp(other) < _SAME:
        return 0.0
    return float(np.corrcoef(one, other)[0, 1])
