"""Draw goods where they stand: boxes, gables, totes and round things, lit and shadowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .round_goods import draw_round
from .sketch import FINE, REACH, Sketch, fitted

if TYPE_CHECKING:
    from edge.frame import Image

    from .camera_optics import Camera, Points
    from .patch import Patch
    from .products import Product
    from .rack import Lighting, Rack

_LIGHT_GRID = 6
_SHADOW = 0.55


@dataclass(frozen=True)
class Spot:
    """Where a thing stands: `at` is its base's centre in rack axes, `turn` radians about upright.

    `ceiling` is the height of the board above, None where nothing is.
    """

    rack: Rack
    at: tuple[float, float, float]
    turn: float = 0.0
    ceiling: float | None = None

    def local(self, own: Points) -> Points:
        """Map the thing's own axes (right, away, up from its base's centre) to the rack's."""
        cos, sin = np.cos(self.turn), np.sin(self.turn)
        spin = np.array([(cos, sin, 0), (-sin, cos, 0), (0, 0, 1)])
        points: Points = own @ spin + np.array(self.at)
        return points

    def world(self, own: Points) -> Points:
        """Map the thing's own axes to world metres."""
        return self.rack.world(self.local(own))


class Painter:
    """Draws the surfaces of one thing into a sketch."""

    def __init__(
        self,
        camera: Camera,
        lighting: Lighting,
        spot: Spot,
        outline: Points,
        reach: float = REACH,
    ) -> None:
        self.camera, self.lighting, self.spot = camera, lighting, spot
        self.sketch = Sketch(camera, spot.world(outline), reach)

    def face(self, corners: Points, texture: Image, cover: Image | None = None) -> None:
        """Draw a lit flat face (4, 3), from its top left clockwise as seen from outside."""
        pixels = self.sketch.pixels(self.spot.world(corners))
        if not _faces_camera(pixels):
            return
        if cover is None:
            texture = fitted(texture, pixels)
        self.sketch.surface(pixels, lit_texture(self, corners, texture), cover)

    def ground_shadow(self, half_width: float, half_depth: float) -> None:
        """Darken the board around the foot."""
        corners = np.array([(-1, -1, 0), (1, -1, 0), (1, 1, 0), (-1, 1, 0)], np.float64) * (
            half_width,
            half_depth,
            0,
        )
        pixels = self.sketch.pixels(self.spot.world(corners))
        per_m = self.camera.focal_px / max(
            0.5, float(self.camera.depth(self.spot.world(np.zeros((1, 3))))[0])
        )
        self.sketch.shadow(pixels, _SHADOW, 0.035 * per_m * FINE)


def lit_texture(painter: Painter, corners: Points, texture: Image) -> Image:
    """Return a texture under the light that falls on a face (4, 3) in the thing's own axes."""
    import cv2

    step = np.linspace(0, 1, _LIGHT_GRID)
    across, down = np.meshgrid(step, step)
    across, down = across.reshape(-1, 1), down.reshape(-1, 1)
    top = corners[0] + across * (corners[1] - corners[0])
    bottom = corners[3] + across * (corners[2] - corners[3])
    local = painter.spot.local(top + down * (bottom - top))
    right, below = local[_LIGHT_GRID - 1] - local[0], local[-_LIGHT_GRID] - local[0]
    normal = -np.cross(right, below)
    normal /= max(float(np.linalg.norm(normal)), 1e-9)
    light = painter.lighting
    bright = light.shade(local, normal, painter.spot.ceiling).reshape(_LIGHT_GRID, _LIGHT_GRID)
    grid = (bright[..., None] * np.array(light.tint)).astype(np.float32)
    size = (texture.shape[1], texture.shape[0])
    grown = cv2.resize(grid, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.multiply(texture, grown, dtype=cv2.CV_8U), np.uint8)


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


def _faces_camera(pixels: npt.NDArray[np.float32]) -> bool:
    """Whether a quadrilateral from its top left clockwise is seen from its outside."""
    diagonal, other = pixels[2] - pixels[0], pixels[3] - pixels[1]
    return float(diagonal[0] * other[1] - diagonal[1] * other[0]) > 1.0
