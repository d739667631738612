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
"""Correlation with the place of their cell that centres and corners have; widths have none."""
_TURNED = 0.5
"""Share of widths and heights that may be negative: not all heads bound distances below."""
_SAME = 1e-6
_ORDERED = 0.99
"""Share of boxes whose second corner must lie behind the first."""
_REACH = 1.5
"""What half of the corners must stay within; pixels do not."""


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
    # At the smallest stride there are the most cells, and boxes the smallest.
    finest = steps[0] == min(strides)
    follow = np.array([_correlation(boxes[finest, i], middles[i % 2, finest]) for i in range(4)])
    follow = (follow > _FOLLOWS).reshape(2, 2)
    bounded = anchors == 1 or off.max() < _BOUND
    if not bounded or np.median(off) > _NEAR or not follow[0].all():
        return Close("its boxes' centres, in pixels, do not lie at their cells")
    if (boxes[:, 2:] < 0).mean() > _TURNED:
        return Close("its boxes' widths and heights are not positive")
    if follow[1].all():
        return Close("its boxes are corners, not centre, width and height")
    return None


def are_corners_on_grid(
    boxes: npt.NDArray[Any], size_wh: tuple[int, int], strides: tuple[int, ...]
) -> bool:
    """Return whether (N, 4) are boxes of the grid's cells, one each, xyxy in pixels."""
    low, high = boxes[:, :2], boxes[:, 2:]
    centred = np.hstack([(low + high) / 2, high - low])
    return why_not_on_grid(centred, size_wh, strides, 1) is None


def why_not_shares_of_the_picture(output: str, corners: npt.NDArray[Any]) -> Close | None:
    """Return in a few words why (…, 4) are no boxes by two corners in 0..1, or None."""
    ordered = (corners[..., 2:] >= corners[..., :2]).all(-1).mean()
    reach = float(np.median(abs(corners)))
    if ordered >= _ORDERED and reach <= _REACH:
        return None
    return Close(
        f"output {output!r} holds no corners in 0..1: on noise {ordered:.0%} are ordered, "
        f"and half are within {reach:.3g}"
    )


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
