"""Objects counted by where they stand, and how sure a count is that INT8 is blind in a place."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from engines.evaluation.sweep import GRID

if TYPE_CHECKING:
    from typing_extensions import Self

Cell = tuple[int, int]
"""Row and column, from the top left."""

FEWEST = 10
"""Objects below which a cell is not judged."""
SURE = 0.95
"""With which probability a bound holds."""


@dataclass(frozen=True, slots=True)
class Count:
    """Objects, by whether float and one INT8 graph found them."""

    both: int = 0
    lost: int = 0
    """Found by float only."""
    gained: int = 0
    """Found by INT8 only."""
    neither: int = 0

    @classmethod
    def of(cls, seen: bool, again: bool) -> Self:  # noqa: FBT001
        """Count one, by whether float has `seen` it and INT8 `again`."""
        return cls(
            both=int(seen and again),
            lost=int(seen and not again),
            gained=int(again and not seen),
            neither=int(not seen and not again),
        )

    def __add__(self, other: Count) -> Count:
        return Count(
            self.both + other.both,
            self.lost + other.lost,
            self.gained + other.gained,
            self.neither + other.neither,
        )

    @property
    def objects(self) -> int:
        """How many there are."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def by_float(self) -> int:
        """How many float finds."""
        return self.both + self.lost

    @property
    def by_int8(self) -> int:
        """How many INT8 finds."""
        return self.both + self.gained

    @property
    def drop(self) -> float:
        """Share that float finds minus share that INT8 finds; 0 without objects."""
        return (self.lost - self.gained) / self.objects if self.objects else 0.0

    def drop_at_least(self, sure: float) -> float:
        """Return what the drop is at least, with this probability: a bound below `drop`.

        R. G. Newcombe, Improved confidence intervals for the difference between binomial
        proportions based on paired data, Statistics in Medicine 17 (1998), method 10.
        """
        n = self.objects
        if not n:
            return -1.0
        z = NormalDist().inv_cdf(sure)
        low, _ = wilson(self.by_float, n, z)
        _, high = wilson(self.by_int8, n, z)
        below, above = self.by_float / n - low, high - self.by_int8 / n
        shared = 2 * self._correlation() * below * above
        return self.drop - math.sqrt(max(0.0, below**2 - shared + above**2))

    def _correlation(self) -> float:
        margins = math.prod(
            (self.by_float, self.by_int8, self.gained + self.neither, self.lost + self.neither)
        )
        if not margins:
            return 0.0
        product = float(self.both * self.neither - self.lost * self.gained)
        if product > 0:
            product = max(product - self.objects / 2, 0)
        return product / math.sqrt(margins)


def wilson(found: int, objects: int, z: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share of `objects` > 0, at `z` standard deviations."""
    share, wide = found / objects, z * z / objects
    middle = (share + wide / 2) / (1 + wide)
    half = z / (1 + wide) * math.sqrt(share * (1 - share) / objects + wide / (4 * objects))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class WorstPlace:
    """Where INT8 falls behind float most, as far as the objects there can tell."""

    place: str
    """Such as `row 1, column 4`, from the top left."""
    count: Count
    drop_at_least: float
    """Bound below the drop that holds for all judged cells together with 95 % probability."""
    judged: int
    cells: int

    def __str__(self) -> str:
        return (
            f"worst of {self.judged} judged cells ({self.cells} in all): {self.place}, where float "
            f"finds {self.count.by_float} and INT8 {self.count.by_int8} of {self.count.objects}"
        )


@dataclass
class Places:
    """Objects of one graph by cell, (row, column) from the top left, and by shelf level."""

    cells: dict[Cell, Count] = field(default_factory=lambda: defaultdict(Count))
    levels: dict[int, Count] = field(default_factory=lambda: defaultdict(Count))

    def add(self, cell: Cell, count: Count, level: int | None = None) -> None:
        """Count objects that stand there."""
        self.cells[cell] += count
        if level is not None:
            self.levels[level] += count

    @property
    def fewest(self) -> int:
        """Objects in the cell that has the fewest."""
        if len(self.cells) < GRID * GRID:
            return 0
        return min(count.objects for count in self.cells.values())

    @property
    def bands(self) -> list[Count]:
        """One count per row of cells, from the top."""
        return [
            sum((self.cells.get((row, column), Count()) for column in range(GRID)), Count())
            for row in range(GRID)
        ]

    @property
    def worst(self) -> WorstPlace | None:
        """The cell of the largest certain drop, or else of the largest that may be chance.

        None where no cell has `FEWEST` objects.
        """
        judged = {cell: n for cell, n in sorted(self.cells.items()) if n.objects >= FEWEST}
        if not judged:
            return None
        # The worst of many cells looks bad by chance: each must be surer of itself (Bonferroni).
        sure = 1 - (1 - SURE) / len(judged)
        at_least = {cell: count.drop_at_least(sure) for cell, count in judged.items()}
        row, column = max(judged, key=lambda cell: (max(0.0, at_least[cell]), judged[cell].drop))
        return WorstPlace(
            f"row {row + 1}, column {column + 1}",
            judged[row, column],
            at_least[row, column],
            len(judged),
            GRID * GRID,
        )

    def for_passport(self) -> dict[str, Any]:
        """Return the grids as plain values, rows from the top, and the worst cell."""
        rows = [[self.cells.get((r, c), Count()) for c in range(GRID)] for r in range(GRID)]
        worst = self.worst
        return {
            "objects": [[count.objects for count in row] for row in rows],
            "float": [[count.by_float for count in row] for row in rows],
            "int8": [[count.by_int8 for count in row] for row in rows],
            "worst": None
            if worst is None
            else {
                "place": worst.place,
                "drop": round(worst.count.drop, 4),
                "drop_at_least": round(worst.drop_at_least, 4),
                "judged_cells": worst.judged,
            },
        }
