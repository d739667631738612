"""A camera: where it stands, where it looks, and how its lens bends the picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

Points = npt.NDArray[np.float64]
"""float64 (N, 2) in pixels or (N, 3) in metres."""

_NEWTON_STEPS = 6
_NEAREST_M = 0.05


@dataclass(frozen=True)
class Camera:
    """A pinhole behind a lens with barrel distortion.

    `axes` (3, 3) holds the camera's right, down and forward as rows, in world metres. A pixel of
    the picture at radius r from the centre (1 at the corner) shows what the pinhole would show at
    r (1 + `barrel` r^2): the inverse direction of Brown's radial model, so that the picture is
    made by one look-up.
    """

    position: Points
    axes: Points
    focal_px: float
    resolution_wh: tuple[int, int]
    barrel: float = 0.0

    def pinhole(self, world: Points) -> Points:
        """Project points, float64 (N, 3), to undistorted pixels (N, 2)."""
        seen = (world - self.position) @ self.axes.T
        depth = np.maximum(seen[:, 2:], _NEAREST_M)
        pixels: Points = seen[:, :2] / depth * self.focal_px + self._centre
        return pixels

    def depth(self, world: Points) -> npt.NDArray[np.float64]:
        """Return metres along the line of sight, (N,)."""
        metres: npt.NDArray[np.float64] = (world - self.position) @ self.axes[2]
        return metres

    def project(self, world: Points) -> Points:
        """Project points, float64 (N, 3), to pixels of the picture (N, 2)."""
        return self.bend(self.pinhole(world))

    def straighten(
        self, columns: npt.NDArray[np.float32], rows: npt.NDArray[np.float32]
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Map a grid of pixels of the picture to undistorted x and y, float32 (rows, columns)."""
        centre = self._centre.astype(np.float32)
        x, y = columns[None] - centre[0], rows[:, None] - centre[1]
        stretch = (x**2 + y**2) * np.float32(self.barrel / self._corner_px**2) + np.float32(1)
        return centre[0] + x * stretch, centre[1] + y * stretch

    def bend(self, undistorted: Points) -> Points:
        """Invert `straighten` (by Newton's method)."""
        offset = undistorted - self._centre
        wanted = np.sqrt((offset**2).sum(axis=-1, keepdims=True)) / self._corner_px
        radius = wanted.copy()
        for _ in range(_NEWTON_STEPS):
            error = radius * (1 + self.barrel * radius**2) - wanted
            radius -= error / (1 + 3 * self.barrel * radius**2)
        bent: Points = self._centre + offset * np.divide(
            radius, wanted, out=np.ones_like(wanted), where=wanted > 0
        )
        return bent

    @property
    def _centre(self) -> Points:
        width, height = self.resolution_wh
        return np.array([(width - 1) / 2, (height - 1) / 2])

    @property
    def _corner_px(self) -> float:
        return float(np.hypot(*self.resolution_wh)) / 2


def look_at(
    position: Sequence[float],
    target: Sequence[float],
    width_rad: float,
    resolution_wh: tuple[int, int],
    barrel: float,
) -> Camera:
    """Return an upright camera at `position` looking at `target`, `width_rad` wide."""
    eye = np.array(position, np.float64)
    forward = np.array(target, np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(forward, right), forward])
    focal = resolution_wh[0] / 2 / float(np.tan(width_rad / 2))
    return Camera(eye, axes, focal, resolution_wh, barrel)
