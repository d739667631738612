"""Draw the surfaces of one thing where it stands, lit and shadowed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .sketch import FINE, REACH, Sketch, fitted

if TYPE_CHECKING:
    from edge.frame import Image

    from .camera_optics import Camera, Points
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


def _faces_camera(pixels: npt.NDArray[np.float32]) -> bool:
    """Whether a quadrilateral from its top left clockwise is seen from its outside."""
    diagonal, other = pixels[2] - pixels[0], pixels[3] - pixels[1]
    return float(diagonal[0] * other[1] - diagonal[1] * other[0]) > 1.0
