"""A rack: its own axes, its bays and levels, and the lamps as it sees them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from .camera_optics import Points

POST_M = 0.075
"""Width of an upright."""
BEAM_M = 0.085
"""Height of a beam: its top is the level's board."""


@dataclass(frozen=True, eq=False)
class Rack:
    """One side of an aisle.

    Rack axes, metres: u along the front from left to right, d from the front into the rack, h up
    from the floor. `origin`, `along` and `inward` (3,) place them in the world. Bay b lies between
    the uprights at b and b + 1 times `bay_m`; `levels` are the heights goods stand at, `top` ends
    the highest of them.
    """

    aisle: str
    origin: Points
    along: Points
    inward: Points
    bays: int
    bay_m: float
    levels: tuple[float, ...]
    top: float
    depth: float

    @property
    def length(self) -> float:
        """Metres from the first to the last upright."""
        return self.bays * self.bay_m

    def world(self, local: Points) -> Points:
        """Map (N, 3) u, d, h to world metres."""
        points: Points = (
            self.origin
            + local[:, :1] * self.along
            + local[:, 1:2] * self.inward
            + local[:, 2:] * np.array([0.0, 0.0, 1.0])
        )
        return points

    def local(self, world: Points) -> Points:
        """Map (N, 3) world metres to u, d, h."""
        offset = world - self.origin
        points: Points = np.stack([offset @ self.along, offset @ self.inward, offset[:, 2]], axis=1)
        return points

    def ceiling(self, level: int) -> float:
        """Return the height of what is above a level: the next board, or the open top."""
        if level + 1 < len(self.levels):
            return self.levels[level + 1] - BEAM_M
        return self.top


@dataclass(frozen=True)
class Lamp:
    """A lamp over the aisle, in rack axes (d < 0 is in front of the rack), metres."""

    at: tuple[float, float, float]
    power: float


@dataclass(frozen=True)
class Lighting:
    """How brightly a point of a rack is lit: 1 shows a print as it is.

    `ambient` comes from everywhere and is lost in the depth of a shelf; a lamp is cut off by the
    board above. `tint` (3,) is the lamps' colour, BGR.
    """

    ambient: float
    lamps: tuple[Lamp, ...]
    tint: tuple[float, float, float]

    def shade(
        self, local: Points, normal: Points, ceiling: float | None
    ) -> npt.NDArray[np.float64]:
        """Return the brightness (N,) of points (N, 3) whose surface faces `normal` (3,)."""
        inside = np.maximum(local[:, 1], 0.0)
        facing_aisle = 0.82 + 0.18 * max(0.0, float(-normal[1])) + 0.10 * float(normal[2])
        bright = self.ambient * facing_aisle * (0.45 + 0.55 * np.exp(-inside / 0.55))
        for lamp in self.lamps:
            bright = bright + self._direct(lamp, local, normal, ceiling)
        return bright

    def _direct(
        self, lamp: Lamp, local: Points, normal: Points, ceiling: float | None
    ) -> npt.NDArray[np.float64]:
        ray = np.array(lamp.at) - local
        distance = np.sqrt((ray**2).sum(axis=1))
        cosine = np.maximum(0.0, ray @ normal / distance)
        light = lamp.power * (0.25 + 0.75 * cosine) * (cosine > 0) / (1 + (distance / 4.0) ** 2)
        return np.asarray(light * lit(lamp, local, ceiling), np.float64)


def lit(lamp: Lamp, local: Points, ceiling: float | None) -> npt.NDArray[np.float64]:
    """Return how much (0..1) of a lamp reaches points (N, 3) past the board at `ceiling`."""
    inside = np.maximum(local[:, 1], 0.0)
    if ceiling is None:
        return np.ones(len(local))
    share = inside / (inside - lamp.at[1])
    crossing = local[:, 2] + share * (lamp.at[2] - local[:, 2])
    soft = 0.05 + 0.10 * inside
    return np.asarray(np.clip((ceiling - crossing) / soft + 0.5, 0.0, 1.0), np.float64)
