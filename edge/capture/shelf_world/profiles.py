"""The outlines of round goods: radius over height."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Profile:
    """Radius (parts of the largest) at heights (parts of the whole), from the foot up.

    `label` is the height its label begins and ends at, `cap` where the cap begins; a `sleeve` goes
    all the way round.
    """

    heights: tuple[float, ...]
    radii: tuple[float, ...]
    label: tuple[float, float] = (0.0, 1.0)
    cap: float = 1.0
    sleeve: bool = False

    def radius(self, height: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return the radius at heights 0..1; 0 outside of them."""
        found = np.interp(height, self.heights, self.radii, left=0.0, right=0.0)
        return found.astype(np.float32)


CAN = Profile((0, 0.02, 0.05, 0.95, 0.98, 1), (0.94, 0.98, 1, 1, 0.98, 0.94))

BOTTLES = (
    Profile(  # wine, high shoulders
        (0, 0.01, 0.62, 0.68, 0.73, 0.78, 1),
        (0.94, 1, 1, 0.93, 0.66, 0.40, 0.36),
        (0.14, 0.50),
        0.88,
    ),
    Profile(  # water, waisted
        (0, 0.03, 0.22, 0.32, 0.42, 0.62, 0.74, 0.86, 0.90, 1),
        (0.88, 1, 0.98, 0.86, 0.97, 1, 0.86, 0.40, 0.36, 0.36),
        (0.44, 0.64),
        0.91,
        sleeve=True,
    ),
    Profile(  # sauce, square shoulders
        (0, 0.02, 0.66, 0.74, 0.80, 0.83, 1),
        (0.95, 1, 1, 0.88, 0.52, 0.50, 0.48),
        (0.10, 0.60),
        0.83,
    ),
    Profile(  # flask, round belly
        (0, 0.05, 0.15, 0.30, 0.45, 0.55, 0.62, 0.68, 1),
        (0.60, 0.84, 0.96, 1, 0.92, 0.72, 0.48, 0.34, 0.30),
        (0.16, 0.44),
        0.90,
    ),
    Profile(  # cleaner, straight, big cap
        (0, 0.02, 0.70, 0.78, 0.79, 0.80, 1),
        (0.94, 1, 1, 0.86, 0.70, 0.70, 0.64),
        (0.12, 0.64),
        0.79,
        sleeve=True,
    ),
    Profile(  # juice, long slope
        (0, 0.02, 0.45, 0.60, 0.72, 0.82, 0.90, 1),
        (0.92, 1, 1, 0.90, 0.70, 0.52, 0.46, 0.46),
        (0.12, 0.42),
        0.90,
    ),
    Profile(  # beer
        (0, 0.01, 0.52, 0.60, 0.68, 0.76, 0.97, 1),
        (0.95, 1, 1, 0.88, 0.60, 0.42, 0.36, 0.38),
        (0.12, 0.44),
        0.955,
    ),
    Profile(  # jug, stepped
        (0, 0.02, 0.34, 0.36, 0.38, 0.58, 0.64, 0.76, 0.80, 1),
        (0.92, 1, 1, 0.90, 1, 1, 0.86, 0.56, 0.44, 0.44),
        (0.40, 0.58),
        0.84,
        sleeve=True,
    ),
)
