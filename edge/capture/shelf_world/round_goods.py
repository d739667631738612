"""Draw bottles and cans: a solid of revolution on a plane that faces the camera."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .rack import lit
from .sketch import FINE

if TYPE_CHECKING:
    from edge.frame import Image

    from .camera_optics import Points
    from .painter import Painter
    from .products import Product
    from .profiles import Profile

_FIXED_POINT_STEPS = 4
_HEIGHTS = 8

Map = npt.NDArray[np.float32]


def draw_round(painter: Painter, product: Product, profile: Profile) -> None:
    """Draw a round product.

    The plane stands on the axis, across the horizontal line of sight. A surface point c metres
    before the axis at height z is seen on that plane at z - c tan(e), e being how far the camera
    looks down on it; the picture is made by inverting that, pixel by pixel.
    """
    radius, height = product.size[0] / 2, product.size[2]
    toward, tilt = _line_of_sight(painter, height)
    right = np.array([-toward[1], toward[0], 0.0])
    reach = radius * abs(tilt)
    corners = np.array(
        [
            (-radius, height + reach),
            (radius, height + reach),
            (radius, -reach),
            (-radius, -reach),
        ]
    )
    # In the rack's axes, toward points out of the shelf and right is to the viewer's right.
    at = np.array(painter.spot.at)
    local = at + corners[:, :1] * right + corners[:, 1:] * np.array([0.0, 0.0, 1.0])
    pixels = painter.sketch.pixels(painter.spot.rack.world(local))
    columns = max(4, round(float(np.hypot(*(pixels[1] - pixels[0])))))
    rows = max(4, round(float(np.hypot(*(pixels[3] - pixels[0])))))
    across = ((np.arange(columns) + 0.5) / columns * 2 - 1) * radius
    down = np.linspace(height + reach, -reach, rows)
    x, seen = (np.asarray(grid, np.float32) for grid in np.meshgrid(across, down))
    picture, cover = _body(painter, product, profile, (x, seen), (toward, tilt))
    if tilt > 0:
        _lid(painter, product, profile, (x, seen), (tilt, picture, cover))
    painter.sketch.surface(pixels, picture, cover)


def _line_of_sight(painter: Painter, height: float) -> tuple[Points, float]:
    """Return the horizontal direction to the camera, in rack axes, and the tangent of its rise."""
    eye = painter.spot.rack.local(painter.camera.position[None])[0]
    ray = eye - np.array(painter.spot.at) - np.array([0.0, 0.0, height / 2])
    level = float(np.hypot(ray[0], ray[1]))
    return np.array([ray[0] / level, ray[1] / level, 0.0]), float(ray[2] / level)


def _body(
    painter: Painter,
    product: Product,
    profile: Profile,
    plane: tuple[Map, Map],
    sight: tuple[Points, float],
) -> tuple[Image, Image]:
    import cv2

    x, seen = plane
    toward, tilt = sight
    radius, height = product.size[0] / 2, product.size[2]
    z = seen.copy()
    for _ in range(_FIXED_POINT_STEPS):
        at_z = profile.radius(np.clip(z / height, 0, 1)) * np.float32(radius)
        before = np.sqrt(np.maximum(at_z**2 - x**2, 0))
        z = seen + before * np.float32(tilt)
    inside = (np.abs(x) <= at_z) & (z >= 0) & (z <= height)
    sine = np.clip(x / np.maximum(at_z, 1e-6), -1, 1)
    cosine = np.sqrt(1 - sine**2)
    wrap = _fit(product.front, x.shape, height, radius)
    rows, columns = wrap.shape[:2]
    turn = np.arcsin(sine) / (2 * np.pi) + 0.5 + painter.spot.turn
    picture = cv2.remap(
        wrap,
        ((turn % 1.0) * columns - 0.5).astype(np.float32),
        ((1 - z / height) * rows - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    bright, shine = _light(painter, product, toward, (sine, cosine, z))
    lit_up = picture * (bright[..., None] * np.array(painter.lighting.tint, np.float32))
    lit_up += (255 * product.gloss * shine)[..., None]
    return np.clip(lit_up, 0, 255).astype(np.uint8), np.where(inside, 255, 0).astype(np.uint8)


def _fit(wrap: Image, shape: tuple[int, ...], height: float, radius: float) -> Image:
    """Return the wrap no finer than it will be shown."""
    import cv2

    rows = min(wrap.shape[0], shape[0])
    columns = min(wrap.shape[1], round(shape[0] / height * radius * 2 * np.pi) + 4)
    if (rows, columns) == wrap.shape[:2]:
        return wrap
    return np.asarray(cv2.resize(wrap, (columns, rows), interpolation=cv2.INTER_AREA), np.uint8)


def _light(
    painter: Painter, product: Product, toward: Points, surface: tuple[Map, Map, Map]
) -> tuple[Map, Map]:
    """Return brightness and highlight (0..1) of a round surface, per pixel."""
    sine, cosine, z = surface
    spot, light = painter.spot, painter.lighting
    heights = np.linspace(0, product.size[2], _HEIGHTS)
    axis = np.tile(np.array(spot.at), (_HEIGHTS, 1))
    axis[:, 2] += heights
    front = axis + toward * product.size[0] / 2
    right = np.array([-toward[1], toward[0], 0.0])
    plain = light.shade(front, np.zeros(3), spot.ceiling)
    bright = np.interp(z, heights, plain).astype(np.float32) * (0.55 + 0.45 * cosine)
    shine = np.zeros_like(z)
    for lamp in light.lamps:
        ray = np.array(lamp.at) - axis[_HEIGHTS // 2]
        distance = float(np.linalg.norm(ray))
        across, facing = float(ray @ right) / distance, float(ray @ toward) / distance
        reach = lamp.power / (1 + (distance / 4.0) ** 2) * lit(lamp, front, spot.ceiling)
        angle = np.maximum(0, sine * across + cosine * facing)
        share = np.interp(z, heights, reach).astype(np.float32)
        bright += share * (0.2 + 0.85 * angle).astype(np.float32)
        level = max(float(np.hypot(across, facing)), 1e-6)
        half = np.array([across / level, facing / level + 1.0])
        half /= np.linalg.norm(half)
        glint = np.maximum(0, sine * half[0] + cosine * half[1])
        shine += (share * 0.45 * glint ** (60 / FINE)).astype(np.float32)
    return bright, shine


def _lid(
    painter: Painter,
    product: Product,
    profile: Profile,
    plane: tuple[Map, Map],
    drawn: tuple[float, Image, Image],
) -> None:
    """Draw the round top, seen from above, into the picture of the body."""
    x, seen = plane
    tilt, picture, cover = drawn
    height = product.size[2]
    radius = product.size[0] / 2 * profile.radii[-1]
    away = (seen - height) / np.float32(max(tilt, 1e-3))
    shown = (x**2 + away**2 <= radius**2) & (cover == 0)
    spot = painter.spot
    top = np.array([[spot.at[0], spot.at[1], spot.at[2] + height]])
    bright = float(painter.lighting.shade(top, np.array([0.0, 0.0, 1.0]), spot.ceiling)[0])
    rows, columns = product.top.shape[:2]
    u = np.clip((x[shown] / radius + 1) / 2 * columns, 0, columns - 1).astype(int)
    v = np.clip((1 - away[shown] / radius) / 2 * rows, 0, rows - 1).astype(int)
    tint = np.array(painter.lighting.tint)
    picture[shown] = np.clip(product.top[v, u] * (bright * tint), 0, 255).astype(np.uint8)
    cover[shown] = 255
