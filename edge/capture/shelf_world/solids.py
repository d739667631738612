"""Draw goods where they stand: boxes, gables, totes and round things."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .painter import Painter
from .round_goods import draw_round

if TYPE_CHECKING:
    from .camera_optics import Camera, Points
    from .painter import Spot
    from .patch import Patch
    from .products import Product
    from .rack import Lighting


def draw_product(product: Product, camera: Camera, lighting: Lighting, spot: Spot) -> Patch | None:
    """Return the patch of a product standing at a spot, None when it is far from the picture."""
    width, depth, height = product.size
    across, back = width / 2 + 0.05, depth / 2 + 0.05
    outline = np.array(
        [(x, y, z) for x in (-across, across) for y in (-back, back) for z in (-0.01, height * 1.1)]
    )
    painter = Painter(camera, lighting, spot, outline)
    if painter.sketch.region is None:
        return None
    painter.ground_shadow(width * 0.52, depth * 0.52)
    if product.profile is not None:
        draw_round(painter, product, product.profile)
    elif product.label == "carton":
        _draw_gable(painter, product)
    elif product.label == "tote":
        _draw_tote(painter, product)
    else:
        _draw_walls(painter, product, product.size, 1.0)
        painter.face(_lid(width, depth, height), product.top)
    return painter.sketch.finish()


def _wall(
    one: tuple[float, float], other: tuple[float, float], low: float, high: float, taper: float
) -> Points:
    """Return the face over the floor line from `one` to `other` (left to right from outside)."""
    return np.array(
        [
            (one[0], one[1], high),
            (other[0], other[1], high),
            (other[0] * taper, other[1] * taper, low),
            (one[0] * taper, one[1] * taper, low),
        ]
    )


def _corners(width: float, depth: float) -> list[tuple[float, float]]:
    """Return the footprint: front left, front right, back right, back left."""
    x, y = width / 2, depth / 2
    return [(-x, -y), (x, -y), (x, y), (-x, y)]


def _draw_walls(
    painter: Painter, product: Product, size: tuple[float, float, float], taper: float
) -> None:
    corner = _corners(size[0], size[1])
    for start, texture in (
        (2, product.front),
        (1, product.side),
        (3, product.side),
        (0, product.front),
    ):
        wall = _wall(corner[start], corner[(start + 1) % 4], 0.0, size[2], taper)
        painter.face(wall, texture)


def _lid(width: float, depth: float, height: float) -> Points:
    left_front, right_front, right_back, left_back = _corners(width, depth)
    return np.array(
        [(*left_back, height), (*right_back, height), (*right_front, height), (*left_front, height)]
    )


def _draw_gable(painter: Painter, product: Product) -> None:
    """Draw a drinks carton: four walls, two roof slopes, the gable ends, the fin on the ridge."""
    width, depth, height = product.size
    wall, ridge = height * 0.72, height * 0.93
    _draw_walls(painter, product, (width, depth, wall), 1.0)
    x, y = width / 2, depth / 2
    back = np.array([(x, 0, ridge), (-x, 0, ridge), (-x, y, wall), (x, y, wall)])
    front = np.array([(-x, 0, ridge), (x, 0, ridge), (x, -y, wall), (-x, -y, wall)])
    painter.face(back, product.top)
    ends = product.side[: max(2, len(product.side) // 8)]
    for side in (-1.0, 1.0):
        tip = side * x * 0.72
        end = np.array(
            [(tip, side * 1e-3, ridge), (tip, -side * 1e-3, ridge), (side * x, -y * side, wall),
             (side * x, y * side, wall)]
        )  # fmt: skip
        painter.face(end[[1, 0, 3, 2]], (ends * 0.82).astype(np.uint8))
    painter.face(front, product.top)
    fin = np.array([(-x, 0, height), (x, 0, height), (x, 0, ridge), (-x, 0, ridge)])
    painter.face(fin, product.top[-max(2, len(product.top) // 3) :])
    painter.face(fin[[1, 0, 3, 2]], product.top[-max(2, len(product.top) // 3) :])


def _draw_tote(painter: Painter, product: Product) -> None:
    """Draw an open tote: what is in it and its inner walls, then the outer walls and the rim."""
    width, depth, height = product.size
    inner = _corners(width * 0.93, depth * 0.93)
    dark = (product.side * 0.55).astype(np.uint8)
    level = height * 0.72
    painter.face(_lid(width * 0.93, depth * 0.93, level), product.top)
    for start in range(4):
        wall = _wall(inner[(start + 1) % 4], inner[start], level, height, 1.0)
        painter.face(wall, dark)
    _draw_walls(painter, product, product.size, 0.90)
    outer = _corners(width, depth)
    rim = product.front[:2]
    for start in (2, 1, 3, 0):
        a, b = outer[start], outer[(start + 1) % 4]
        c, d = inner[(start + 1) % 4], inner[start]
        strip = np.array([(*d, height), (*c, height), (*b, height), (*a, height)])
        painter.face(strip, rim)
