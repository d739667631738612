"""Plain surfaces, where they lie, and how even they are: what racks and rooms are drawn with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge.frame import Image

    from .camera_optics import Points
    from .styles import Bgr

_EDGE_POINTS = 9
"""Along a long edge, so that a bent edge stays inside its patch."""


def plain(width_m: float, height_m: float, colour: Bgr, pixels_per_m: float) -> Image:
    """Return a face of one colour, uint8 (H, W, 3)."""
    size = (max(4, round(height_m * pixels_per_m)), max(4, round(width_m * pixels_per_m)), 3)
    texture: Image = np.empty(size, np.uint8)
    texture[:] = colour
    return texture


def uneven(texture: Image, chance: np.random.Generator, amount: float, coarse: int) -> Image:
    """Return a texture with blotches of `coarse` pixels, `amount` grey levels, and fine grain."""
    import cv2

    rows, columns = texture.shape[:2]
    size = (max(2, rows // coarse), max(2, columns // coarse))
    blotches = cv2.resize(
        chance.normal(0, amount, size).astype(np.float32),
        (columns, rows),
        interpolation=cv2.INTER_CUBIC,
    )
    fine = chance.normal(0, amount / 2, (rows, columns))
    noisy: Image = np.clip(texture + (blotches + fine)[..., None], 0, 255).astype(np.uint8)
    return noisy


def standing(left: float, right: float, low: float, high: float, d: float) -> Points:
    """Return a face parallel to the rack's front, seen from the aisle."""
    return np.array([(left, d, high), (right, d, high), (right, d, low), (left, d, low)])


def lying(left: float, right: float, front: float, back: float, h: float) -> Points:
    """Return a level face, seen from above."""
    return np.array([(left, back, h), (right, back, h), (right, front, h), (left, front, h)])


def edges_of(left: float, right: float, low: float, high: float, depth: float) -> Points:
    """Return points along all edges of a block from the front, d = -0.1, to `depth`."""
    step = np.linspace(0, 1, _EDGE_POINTS)
    return np.array(
        [
            (left + (right - left) * a, d, low + (high - low) * b)
            for d in (-0.1, depth)
            for a, b in [(s, e) for s in step for e in (0.0, 1.0)]
            + [(e, s) for s in step for e in (0.0, 1.0)]
        ]
    )
