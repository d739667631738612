"""The same scene elsewhere, nearer, darker: a frame's variants, and where its boxes are in them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from edge.detections import Xyxy
    from edge.frame import Image

    Region = tuple[int, int, int, int]
    """Left, top, right, bottom in pixels; right and bottom excluded."""

GRID = 4
"""Rows and columns of cells that the picture is divided into."""
_ZOOMS = (0.75, 1.33)
_BRIGHTNESS = (0.5, 0.25)
_BLUR_PX = (0.75, 1.5)
"""Sigma, pixels of the network input."""
_JPEG_QUALITY = (60, 30)
_CUT_PX = 2
"""An object so near to the picture's edge may go on behind it."""
_GOLDEN_RATIO = 0.6180339887


@dataclass(frozen=True, slots=True)
class Variant:
    """A frame, uint8 (H, W, 3) BGR, after one change.

    Pixel here = pixel of the original frame * `scale` + `offset_xy`.
    """

    kind: str
    name: str
    image: Image
    scale: float = 1.0
    offset_xy: tuple[float, float] = (0.0, 0.0)

    def to_here(self, xyxy: Xyxy) -> Xyxy:
        """Map the original frame's boxes, float32 (N, 4), to this one."""
        boxes: Xyxy = xyxy * np.float32(self.scale) + np.array(self.offset_xy * 2, np.float32)
        return boxes


def picture_in(frame: Image, pad: int) -> Region:
    """Return where the picture lies in a letterboxed frame, the bars of grey `pad` left out."""
    used = (frame != pad).any(axis=2)
    rows, columns = np.flatnonzero(used.any(axis=1)), np.flatnonzero(used.any(axis=0))
    if not len(rows):
        return 0, 0, frame.shape[1], frame.shape[0]
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def whole(xyxy: Xyxy, picture: Region) -> npt.NDArray[np.bool_]:
    """Return which boxes (N, 4) are clear of the picture's edge: bool (N,)."""
    clear = np.concatenate(
        [
            xyxy[:, :2] >= np.array(picture[:2]) + _CUT_PX,
            xyxy[:, 2:] <= np.array(picture[2:]) - _CUT_PX,
        ],
        axis=1,
    )
    return np.asarray(clear.all(axis=1), np.bool_)


def cells_of(xyxy: Xyxy, picture: Region) -> list[tuple[int, int]]:
    """Return the (row, column) of the `GRID` x `GRID` cell that each box's centre stands in."""
    corner, size = np.array(picture[:2]), np.array(picture[2:]) - np.array(picture[:2])
    centres = (xyxy[:, :2] + xyxy[:, 2:]) / 2
    places = np.clip((centres - corner) / size * GRID, 0, GRID - 1).astype(int)
    return [(row, column) for column, row in places.tolist()]


def variants(frame: Image, xyxy: Xyxy, picture: Region, turn: int, pad: int) -> Iterator[Variant]:
    """Yield the frame as it is, moved, zoomed, dimmed, blurred and as JPEG.

    It is moved once for each cell of the picture, so that one of the objects `xyxy`, float32
    (N, 4), stands whole in that cell; `turn` says which, and where in the cell.
    """
    yield Variant("as it is", "", frame)
    for cell in product(range(GRID), range(GRID)):
        offset = _offset_into(cell, xyxy, picture, turn)
        if offset is not None:
            moved = warp(frame, picture, 1.0, offset, pad)
            name = f"an object in row {cell[0] + 1}, column {cell[1] + 1}"
            yield Variant("moved", name, moved, 1.0, offset)
    centre = ((picture[0] + picture[2]) / 2, (picture[1] + picture[3]) / 2)
    for zoom in _ZOOMS:
        offset = (centre[0] * (1 - zoom), centre[1] * (1 - zoom))
        zoomed = warp(frame, picture, zoom, offset, pad)
        yield Variant("zoomed", f"by {zoom:g}", zoomed, zoom, offset)
    yield from _spoilt(frame, picture)


def _offset_into(
    cell: tuple[int, int], xyxy: Xyxy, picture: Region, turn: int
) -> tuple[float, float] | None:
    """Return by how many whole pixels to move so that an object stands in the cell, uncut."""
    number = cell[0] * GRID + cell[1]
    corner, size = np.array(picture[:2]), np.array(picture[2:]) - np.array(picture[:2])
    from_ = corner + size * np.array([cell[1], cell[0]]) / GRID
    to = from_ + size / GRID
    for attempt in range(len(xyxy)):
        box = xyxy[(turn + number + attempt) % len(xyxy)]
        half = (box[2:] - box[:2]) / 2 + _CUT_PX
        low = np.maximum(from_, corner + half)
        high = np.minimum(to, corner + size - half) - 1
        if (low <= high).all():
            # Not always the middle: what stands on a multiple of the stride is easier to find.
            share = 0.25 + np.array([turn + number, turn + 3 * number]) * _GOLDEN_RATIO % 0.5
            target = low + (high - low) * share
            dx, dy = np.round(target - (box[:2] + box[2:]) / 2).tolist()
            return float(dx), float(dy)
    return None


def warp(
    frame: Image, picture: Region, scale: float, offset_xy: tuple[float, float], pad: int
) -> Image:
    """Move and scale what the picture shows; nothing leaves it, and what is uncovered is grey."""
    import cv2

    left, top, right, bottom = picture
    # OpenCV's pixel centres are whole numbers, those of boxes lie at .5.
    half = (scale - 1) / 2
    matrix = np.array([[scale, 0, offset_xy[0] + half], [0, scale, offset_xy[1] + half]])
    matrix[:, 2] += scale * np.array([left, top]) - np.array([left, top])
    inner = cv2.warpAffine(
        np.ascontiguousarray(frame[top:bottom, left:right]),
        matrix,
        (right - left, bottom - top),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(pad, pad, pad),
    )
    return _with_inner(frame, picture, np.asarray(inner, np.uint8))


def _spoilt(frame: Image, picture: Region) -> Iterator[Variant]:
    """Yield the frame with all in its place, but worse to see."""
    import cv2

    left, top, right, bottom = picture
    inner = np.ascontiguousarray(frame[top:bottom, left:right])
    for light in _BRIGHTNESS:
        dark = (inner * np.float32(light)).round().astype(np.uint8)
        yield Variant("dimmed", f"to {light:.0%}", _with_inner(frame, picture, dark))
    for sigma in _BLUR_PX:
        blurred = np.asarray(cv2.GaussianBlur(inner, (0, 0), sigma), np.uint8)
        yield Variant("blurred", f"{sigma:g} px", _with_inner(frame, picture, blurred))
    for quality in _JPEG_QUALITY:
        _, coded = cv2.imencode(".jpg", inner, [cv2.IMWRITE_JPEG_QUALITY, quality])
        lossy = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        yield Variant("JPEG", f"quality {quality}", _with_inner(frame, picture, lossy))


def _with_inner(frame: Image, picture: Region, inner: Image) -> Image:
    left, top, right, bottom = picture
    changed = frame.copy()
    changed[top:bottom, left:right] = inner
    return changed
