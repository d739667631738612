"""What training may see and what is kept from it: the one rule for styles, the one for places.

A *variant* is one palette, print, motif, word, profile, finish, outfit or light, counted from 0 in
its own table: every fourth belongs to the held-out split, and a world of one split is made of that
split's variants only. A *location* is a label in a cell of the picture: each label has a half of
the picture in which a `lab` world may show it and another half that only `unseen` worlds use.
"""

from __future__ import annotations

import math
from enum import Enum

LABELS = ("box", "bottle", "can", "carton", "tote", "pallet", "person", "cart")
"""Every label of the shelf world; the order is the detectors' and never changes."""

GRID = (6, 4)
"""Columns and rows of the cells that locations are counted in."""

_HELD_OUT_EVERY = 4

_LAB_HALF = {
    "box": "left",
    "bottle": "right",
    "can": "upper",
    "carton": "lower",
    "tote": "right",
    "pallet": "left",
    "person": "right",
    "cart": "left",
}
"""Where a `lab` world shows a label; what stands on the floor is told left from right."""

Cell = tuple[int, int]
"""Column and row of a cell, from the top left."""


class Split(str, Enum):
    """Which variants a world is made of."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class Locations(str, Enum):
    """Where in the picture a label may appear."""

    ALL = "all"
    LAB = "lab"
    UNSEEN = "unseen"


def variants(split: Split, count: int) -> tuple[int, ...]:
    """Return the variants of a table of `count` that belong to a split."""
    held_out = split is Split.HELD_OUT
    last = _HELD_OUT_EVERY - 1
    return tuple(i for i in range(count) if (i % _HELD_OUT_EVERY == last) is held_out)


def cells(label: str, locations: Locations) -> frozenset[Cell]:
    """Return the cells in which a label may appear; raises `KeyError` for an unknown label."""
    columns, rows = GRID
    every = frozenset((column, row) for column in range(columns) for row in range(rows))
    lab = frozenset(cell for cell in every if _in_half(_LAB_HALF[label], cell))
    return {Locations.ALL: every, Locations.LAB: lab, Locations.UNSEEN: every - lab}[locations]


def cells_under(
    xyxy: tuple[float, float, float, float], resolution_wh: tuple[int, int]
) -> frozenset[Cell]:
    """Return the cells that a box, in pixels, has a part in; what is outside the picture is not."""
    columns, rows = GRID
    width, height = resolution_wh
    left, right = _span(xyxy[0], xyxy[2], width, columns)
    top, bottom = _span(xyxy[1], xyxy[3], height, rows)
    return frozenset((column, row) for column in range(left, right) for row in range(top, bottom))


def allows(
    label: str,
    locations: Locations,
    xyxy: tuple[float, float, float, float],
    resolution_wh: tuple[int, int],
) -> bool:
    """Whether a label may stand there: every cell its box has a part in is one of its own."""
    if locations is Locations.ALL:
        return True
    return cells_under(xyxy, resolution_wh) <= cells(label, locations)


def _in_half(half: str, cell: Cell) -> bool:
    columns, rows = GRID
    column, row = cell
    return {
        "left": column < columns // 2,
        "right": column >= columns // 2,
        "upper": row < rows // 2,
        "lower": row >= rows // 2,
    }[half]


def _span(low: float, high: float, size: int, count: int) -> tuple[int, int]:
    """Return first and one past the last of `count` cells that [low, high) touches."""
    low, high = max(low, 0.0), min(high, float(size))
    if high <= low:
        return 0, 0
    return int(low * count // size), min(count, math.ceil(high * count / size))
