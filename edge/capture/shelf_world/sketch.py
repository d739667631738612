"""Draw surfaces in perspective, twice as fine as the picture, and make a patch of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .patch import Patch, common

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Image

    from .camera_optics import Camera, Points

FINE = 2
"""Sketch pixels per picture pixel, each way."""

_EDGE_PX = 2
_SHIFT = 4
_HALF = 128
REACH = 0.25
"""How far out of the picture, in its size, goods are drawn: enough to know how much is hidden."""


class Sketch:
    """A small picture as the pinhole sees it; `finish` bends it as the lens does.

    Draw from back to front. `outline` (N, 3), world metres, holds everything that is drawn; what
    lies further out of the picture than `reach` of its size is left out.
    """

    def __init__(self, camera: Camera, outline: Points, reach: float = REACH) -> None:
        self._camera = camera
        pixels = camera.project(outline)
        width, height = camera.resolution_wh
        reach_x, reach_y = round(width * reach), round(height * reach)
        low = np.floor(pixels.min(axis=0)).astype(int) - _EDGE_PX
        high = np.ceil(pixels.max(axis=0)).astype(int) + _EDGE_PX + 1
        box = (int(low[0]), int(low[1]), int(high[0]), int(high[1]))
        self.region = common(box, (-reach_x, -reach_y, width + reach_x, height + reach_y))
        if common(box, (0, 0, width, height)) is None:
            self.region = None
        if self.region is None:
            return
        left, top, right, bottom = self.region
        x, y = camera.straighten(
            np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)
        )
        # Along a row x only grows, along a column y: the extremes lie on the border.
        first = np.floor((x[:, 0].min(), y[0].min())) - 1
        last = np.ceil((x[:, -1].max(), y[-1].max())) + 2
        size = ((last - first) * FINE).astype(int)
        self._origin = first
        self._maps = tuple(
            (straight - np.float32(low)) * np.float32(FINE) + np.float32(0.5)
            for straight, low in zip((x, y), first, strict=True)
        )
        self._colour = np.zeros((size[1], size[0], 3), np.uint8)
        self._cover = np.zeros((size[1], size[0]), np.uint8)
        self._shadow: Image | None = None

    def pixels(self, world: Points) -> npt.NDArray[np.float32]:
        """Return where points (N, 3) lie in the sketch, (N, 2)."""
        fine = (self._camera.pinhole(world) - self._origin) * FINE + 0.5
        return np.asarray(fine, np.float32)

    def surface(
        self, corners: npt.NDArray[np.float32], texture: Image, cover: Image | None = None
    ) -> None:
        """Draw a texture on a quadrilateral (4, 2) of sketch pixels, from its top left clockwise.

        `cover` uint8 (h, w), as large as the texture, leaves out what is 0 in it.
        """
        import cv2

        height, width = texture.shape[:2]
        low = np.maximum(np.floor(corners.min(axis=0)).astype(int) - 1, 0)
        high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 2, self._cover.shape[::-1])
        if (high <= low).any():
            return
        inner = (corners - low).astype(np.float32)
        source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32) - 0.5
        matrix = cv2.getPerspectiveTransform(source, inner)
        size = (int(high[0] - low[0]), int(high[1] - low[1]))
        drawn = cv2.warpPerspective(
            texture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        mask = np.zeros(size[::-1], np.uint8)
        polygon = np.round(inner * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(mask, polygon, 255, cv2.LINE_8, _SHIFT)
        if cover is not None:
            mask = cv2.min(mask, cv2.warpPerspective(cover, matrix, size, flags=cv2.INTER_LINEAR))
            mask = np.where(mask >= _HALF, 255, 0).astype(np.uint8)
        there = np.s_[low[1] : high[1], low[0] : high[0]]
        cv2.copyTo(drawn, mask, self._colour[there])
        cv2.copyTo(mask, mask, self._cover[there])

    def shadow(self, polygon: npt.NDArray[np.float32], strength: float, blur_px: float) -> None:
        """Darken a convex polygon (N, 2) of sketch pixels, softened over `blur_px`."""
        import cv2

        if self._shadow is None:
            self._shadow = np.zeros_like(self._cover)
        layer = np.zeros_like(self._cover)
        points = np.round(polygon * (1 << _SHIFT)).astype(np.int32)
        cv2.fillConvexPoly(layer, points, round(255 * strength), cv2.LINE_8, _SHIFT)
        side = max(1, round(blur_px)) | 1
        soft = cv2.blur(cv2.blur(layer, (side, side)), (side, side))
        self._shadow = np.asarray(cv2.max(self._shadow, soft), np.uint8)

    def finish(self) -> Patch:
        """Return the patch as the camera shows it."""
        import cv2

        if self.region is None:
            raise ValueError("Sketch.finish: nothing of it is near the picture, see `region`")
        colour = self._bent(self._colour)
        cover = self._bent(self._cover)
        solid = cover >= _HALF
        keep = 255 - cover
        if self._shadow is not None:
            shadow = self._bent(self._shadow)
            keep = np.asarray(cv2.multiply(keep, 255 - shadow, scale=1 / 255), np.uint8)
        return Patch(self.region, colour, keep, solid, int(np.count_nonzero(solid)))

    def _bent(self, fine: Image) -> Image:
        import cv2

        return np.asarray(cv2.remap(fine, self._maps[0], self._maps[1], cv2.INTER_LINEAR), np.uint8)


def fitted(texture: Image, corners: Sequence[Sequence[float]] | npt.NDArray[np.float32]) -> Image:
    """Return a texture no finer than the sketch pixels (4, 2) it will cover."""
    import cv2

    side = np.asarray(corners, np.float32)
    width = max(np.hypot(*(side[1] - side[0])), np.hypot(*(side[2] - side[3])))
    height = max(np.hypot(*(side[3] - side[0])), np.hypot(*(side[2] - side[1])))
    wanted = (
        max(2, min(texture.shape[1], int(np.ceil(width)))),
        max(2, min(texture.shape[0], int(np.ceil(height)))),
    )
    if wanted == texture.shape[1::-1]:
        return texture
    return np.asarray(cv2.resize(texture, wanted, interpolation=cv2.INTER_AREA), np.uint8)
