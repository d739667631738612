"""ArUco markers on the uprights: the other way to know which aisle this is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edge.errors import MissingPackage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Image

_COUNT = 50
_CELLS, _CELL_PX, _QUIET = 6, 12, 1


def marker_ids(aisles: Sequence[str]) -> dict[str, int]:
    """Return each aisle's marker: its number where all have one below 50, else their order."""
    if all(aisle.isdecimal() and int(aisle) < _COUNT for aisle in aisles):
        return {aisle: int(aisle) for aisle in aisles}
    return {aisle: number for number, aisle in enumerate(aisles)}


def marker_plate(number: int) -> Image:
    """Return marker `number` of DICT_4X4_50 on white, uint8 (96, 96, 3)."""
    import cv2

    if not hasattr(cv2, "aruco"):
        raise MissingPackage(
            "this OpenCV has no aruco module", "leave out markers=1 or install opencv >= 4.7"
        )
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    marker = cv2.aruco.generateImageMarker(family, number, _CELLS * _CELL_PX)
    return np.repeat(np.pad(marker, _QUIET * _CELL_PX, constant_values=255)[..., None], 3, axis=2)
