"""The grid of anchor-free heads: one candidate per cell of each stride's feature map."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.graph import Shape

STRIDES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32), (4, 8, 16), (8, 16))
"""The sets of strides that heads have, most usual first; the last two where someone left 32 out."""


def cells(size_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return columns and rows of a stride's feature map."""
    return -(-size_wh[0] // stride), -(-size_wh[1] // stride)


def strides_of(size_wh: tuple[int, int], count: int) -> tuple[int, ...] | None:
    """Return the strides whose cells are `count` in all, or None."""
    for strides in STRIDES:
        if sum(w * h for w, h in (cells(size_wh, s) for s in strides)) == count:
            return strides
    return None


def maps_strides(
    size_wh: tuple[int, int], outputs: Mapping[str, Shape], axes: tuple[int, int] = (2, 3)
) -> dict[int, str] | None:
    """Return outputs by stride, smallest first, where each is the map of one; else None.

    `axes` are those of rows and columns.
    """
    by_stride: dict[int, str] = {}
    for name, shape in outputs.items():
        if len(shape) <= max(axes):
            return None
        rows, columns = shape[axes[0]], shape[axes[1]]
        fitting = [s for s in sorted({s for set_ in STRIDES for s in set_})
                   if cells(size_wh, s) == (columns, rows)]  # fmt: skip
        if len(fitting) != 1 or fitting[0] in by_stride:
            return None
        by_stride[fitting[0]] = name
    found = dict(sorted(by_stride.items()))
    return found if tuple(found) in STRIDES else None


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
