"""The grid of anchor-free heads: one candidate per cell of each stride's feature map."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32))
"""The sets of strides that heads have, most usual first."""


def cells(size_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return columns and rows of a stride's feature map."""
    return -(-size_wh[0] // stride), -(-size_wh[1] // stride)


def strides_of(size_wh: tuple[int, int], count: int) -> tuple[int, ...] | None:
    """Return the strides whose cells are `count` in all, or None."""
    for strides in STRIDES:
        if sum(w * h for w, h in (cells(size_wh, s) for s in strides)) == count:
            return strides
    return None


def corners_and_strides(
    size_wh: tuple[int, int], strides: tuple[int, ...]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return each cell's column and row, float32 (2, N), and stride, float32 (1, N).

    Row by row, smallest stride first: the order in which the heads are concatenated.
    """
    grids, steps = [], []
    for stride in strides:
        columns, rows = cells(size_wh, stride)
        y, x = np.mgrid[:rows, :columns]
        grids.append(np.stack([x.ravel(), y.ravel()]))
        steps.append(np.full((1, rows * columns), stride))
    return np.hstack(grids).astype(np.float32), np.hstack(steps).astype(np.float32)
