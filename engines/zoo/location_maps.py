"""What the location experiment measured, as figures and as heat-maps of recall per cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.zoo.scoring import Score

FEWEST = 20
"""Things below which a cell is not judged: one more or less is 5 points of its recall."""
_CELL_WH = (46, 36)
_GAP, _LEFT, _HEAD, _FOOT = 26, 12, 52, 30
_LIGHT, _DARK = (247, 251, 255), (8, 48, 107)
_TURNS_WHITE = 0.5
"""Recall from which a cell is so dark that its figures are white."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One graph, of an arm in a precision, on one set of pictures."""

    arm: str
    view: str
    where: str
    precision: str
    score: Score

    @property
    def title(self) -> str:
        """Name it in a few words."""
        return f"{self.arm}, {self.where}, {self.precision}"

    @property
    def recall(self) -> float:
        """Share of all things that are found."""
        return float(self.score.found.sum() / max(1, self.score.there.sum()))

    @property
    def judged(self) -> list[float]:
        """Recall of each cell with `FEWEST` things or more."""
        return [float(r) for r in self.score.recall()[self.score.there >= FEWEST]]

    @property
    def worst(self) -> float | None:
        """Recall of the worst such cell; None where there is no such cell."""
        return min(self.judged, default=None)

    @property
    def mean(self) -> float | None:
        """Mean recall of those cells, each counted once."""
        return float(np.mean(self.judged)) if self.judged else None


def summary(found: Sequence[Measured]) -> list[dict[str, Any]]:
    """Return the figures as JSON takes them."""
    return [
        {
            "arm": one.arm,
            "view": one.view,
            "where": one.where,
            "precision": one.precision,
            "recall": round(one.recall, 4),
            "mean_cell": _rounded(one.mean),
            "worst_cell": _rounded(one.worst),
            "judged_cells": len(one.judged),
            "frames": one.score.frames,
            "map50_95": round(one.score.ap, 4),
            "by_label": {label: round(ap, 4) for label, ap in one.score.by_label.items()},
            "found": one.score.found.tolist(),
            "there": one.score.there.tolist(),
        }
        for one in found
    ]


def svg(rows: Sequence[Sequence[Measured]]) -> str:
    """Return a picture with a heat-map for each: recall in percent, and how many things there."""
    across = max(len(row) for row in rows)
    grid = rows[0][0].score.there.shape
    map_wh = (grid[1] * _CELL_WH[0], grid[0] * _CELL_WH[1])
    width = _LEFT * 2 + across * map_wh[0] + (across - 1) * _GAP
    height = len(rows) * (_HEAD + map_wh[1]) + _FOOT
    maps = [
        _map(one, _LEFT + column * (map_wh[0] + _GAP), row * (_HEAD + map_wh[1]) + _HEAD)
        for row, ones in enumerate(rows)
        for column, one in enumerate(ones)
    ]
    note = f"In a cell: recall in percent, and how many things. Grey: fewer than {FEWEST} things."
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="13">'
    )
    paper = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    below = f'<text x="{_LEFT}" y="{height - 10}" fill="#444" font-size="12">{note}</text>'
    return "\n".join([opening, paper, *maps, below, "</svg>\n"])


def _map(one: Measured, left: int, top: int) -> str:
    worst = "" if one.worst is None else f", worst cell {one.worst:.0%}"
    lines = [
        f'<text x="{left}" y="{top - 24}" fill="#111" font-weight="bold">{one.title}</text>',
        f'<text x="{left}" y="{top - 8}" fill="#444">recall {one.recall:.0%}{worst}</text>',
    ]
    for (row, column), count in np.ndenumerate(one.score.there):
        x, y = left + column * _CELL_WH[0], top + row * _CELL_WH[1]
        share = float(one.score.recall()[row, column]) if count >= FEWEST else None
        lines += _cell(x, y, share, int(count))
    return "\n".join(lines)


def _cell(x: int, y: int, share: float | None, count: int) -> list[str]:
    width, height = _CELL_WH
    ink = "#fff" if share is not None and share >= _TURNS_WHITE else "#222"
    text = "" if share is None else f"{100 * share:.0f}"
    box = f'x="{x}" y="{y}" width="{width - 1}" height="{height - 1}"'
    middle = f'x="{x + width // 2}" text-anchor="middle" fill="{ink}"'
    return [
        f'<rect {box} fill="{_colour(share)}"/>',
        f'<text {middle} y="{y + 17}">{text}</text>',
        f'<text {middle} y="{y + 30}" font-size="9">{count}</text>',
    ]


def _colour(share: float | None) -> str:
    if share is None:
        return "#ddd"
    low, high = np.array(_LIGHT), np.array(_DARK)
    return "#" + "".join(f"{round(v):02x}" for v in low + (high - low) * share)


def _rounded(share: float | None) -> float | None:
    return None if share is None else round(share, 4)
