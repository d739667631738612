"""Goods: what each looks like, before anybody has put one on a shelf."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .prints import bar_code, design, fill, label, write
from .profiles import BOTTLES, CAN
from .styles import GLASS, KRAFT, PLASTIC, WOOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Image

    from .profiles import Profile
    from .styles import Bgr, Picker

Size = tuple[float, float, float]
"""Width, depth, height in metres."""


@dataclass(frozen=True)
class Product:
    """One kind of goods: `size` in metres, uint8 (H, W, 3) prints, for round goods a profile.

    A round product's `front` is its whole wrap, the middle column at its front.
    """

    label: str
    size: Size
    front: Image
    side: Image
    top: Image
    profile: Profile | None = None
    gloss: float = 0.0


def make_product(name: str, picker: Picker, pixels_per_m: float) -> Product:
    """Return a product of a label; raises `KeyError` for a label that stands on no shelf."""
    return _MAKERS[name](picker, pixels_per_m)


def _face(size_m: tuple[float, float], pixels_per_m: float, colour: Bgr) -> Image:
    width, height = (max(16, round(side * pixels_per_m)) for side in size_m)
    face: Image = np.empty((height, width, 3), np.uint8)
    face[:] = colour
    return face


def _grain(face: Image, chance: np.random.Generator, amount: float, stretch: int) -> None:
    """Give a face the unevenness of a material; `stretch` lengthens it along the rows."""
    import cv2

    rows, columns = face.shape[:2]
    coarse = chance.normal(0, amount, (rows, max(1, columns // stretch))).astype(np.float32)
    grain = cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_LINEAR)
    face[:] = np.clip(face + grain[..., None], 0, 255).astype(np.uint8)


def _edges(face: Image, dark: float, light: float) -> None:
    """Darken a face's border and lighten the top edge, as wear and a soft corner do."""
    edge = max(1, min(face.shape[:2]) // 40)
    for line in (np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
        face[line] = (face[line] * dark).astype(np.uint8)
    face[:edge] = np.clip(face[:edge] * light, 0, 255).astype(np.uint8)


def _box(picker: Picker, density: float) -> Product:
    if picker.between(0, 1) < 0.55:  # noqa: PLR2004 - somewhat more plain board than print
        return _board_box(picker, density)
    size = (picker.between(0.17, 0.30), picker.between(0.10, 0.22), picker.between(0.20, 0.33))
    art = design(picker)
    front = art.on(*_pixels(size[0], size[2], density))
    side = _face((size[1], size[2]), density, art.colours[0])
    fill(side, (0, 0.35, 1, 0.3), art.colours[1])
    write(side, art.word, (0.08, 0.42, 0.84, 0.14), art.colours[3])
    bar_code(side, (0.25, 0.76, 0.5, 0.16), picker.chance)
    top = _face(size[:2], density, art.colours[0])
    write(top, art.word, (0.1, 0.3, 0.8, 0.4), art.colours[1])
    for face in (front, side, top):
        _edges(face, 0.72, 1.25)
    return Product("box", size, front, side, top)


def _board_box(picker: Picker, density: float) -> Product:
    size = (picker.between(0.24, 0.42), picker.between(0.24, 0.38), picker.between(0.16, 0.34))
    colour, art = picker.pick("kraft", KRAFT), design(picker)
    tape = tuple(min(255, round(c * 1.16)) for c in colour)
    front = _face((size[0], size[2]), density, colour)
    side = _face((size[1], size[2]), density, colour)
    top = _face(size[:2], density, colour)
    for face in (front, side, top):
        _grain(face, picker.chance, 4.0, 12)
    fill(top, (0, 0.44, 1, 0.12), (tape[0], tape[1], tape[2]))
    fill(top, (0, 0.495, 1, 0.01), (60, 80, 100))
    fill(side, (0.43, 0, 0.14, 0.25), (tape[0], tape[1], tape[2]))
    if picker.between(0, 1) < 0.5:  # noqa: PLR2004 - half of them carry ink on the front
        band = art.colours[0]
        fill(front, (0, 0.72, 1, 0.14), band)
        write(front, art.word, (0.1, 0.12, 0.5, 0.24), art.colours[3])
    fill(front, (0.44, 0, 0.12, 0.20), (tape[0], tape[1], tape[2]))
    _handling_marks(front, art.colours[3])
    left = picker.between(0.08, 0.5)
    label(front, (left, picker.between(0.30, 0.38), 0.40, 0.46), picker.chance)
    for face in (front, side, top):
        _edges(face, 0.74, 1.18)
    return Product("box", size, front, side, top)


def _handling_marks(face: Image, ink: Bgr) -> None:
    """Print two arrows, this side up, into the lower right corner."""
    import cv2

    rows, columns = face.shape[:2]
    for left in (0.80, 0.89):
        arrow = np.array(
            [(0.03, 0.80), (0.06, 0.86), (0.04, 0.86), (0.04, 0.95), (0.02, 0.95), (0.02, 0.86),
             (0.0, 0.86)]
        )  # fmt: skip
        points = (arrow + np.array([left, 0.0])) * (columns, rows)
        cv2.fillPoly(face, [np.round(points * 16).astype(np.int32)], ink, cv2.LINE_AA, 4)


def _carton(picker: Picker, density: float) -> Product:
    size = (picker.between(0.105, 0.13), picker.between(0.10, 0.12), picker.between(0.25, 0.31))
    art = design(picker)
    front = art.on(*_pixels(size[0], size[2], density))
    side = art.on(*_pixels(size[1], size[2], density))
    fill(side, (0.12, 0.42, 0.76, 0.46), art.colours[1])
    for line in range(5):
        fill(side, (0.2, 0.46 + 0.04 * line, 0.6, 0.015), art.colours[3])
    bar_code(side, (0.3, 0.70, 0.4, 0.14), picker.chance)
    top = _face(size[:2], density, art.colours[2])
    fill(top, (0, 0.7, 1, 0.3), art.colours[0])
    for face in (front, side):
        _edges(face, 0.75, 1.2)
    return Product("carton", size, front, side, top)


def _tote(picker: Picker, density: float) -> Product:
    size = (picker.between(0.30, 0.42), picker.between(0.32, 0.42), picker.between(0.17, 0.26))
    colour = picker.pick("plastic", PLASTIC)
    faces = []
    for width in size[:2]:
        face = _face((width, size[2]), density, colour)
        _ribs(face)
        faces.append(face)
    front, side = faces
    fill(front, (0.36, 0.14, 0.28, 0.13), (28, 26, 24))
    fill(front, (0.30, 0.48, 0.40, 0.34), (214, 220, 222))
    bar_code(front, (0.33, 0.58, 0.34, 0.22), picker.chance)
    write(front, f"{picker.chance.integers(100, 999)}", (0.36, 0.49, 0.28, 0.08), (30, 30, 30))
    top = _face(size[:2], density, (46, 50, 54))
    _heap(top, picker)
    return Product("tote", size, front, side, top)


def _ribs(face: Image) -> None:
    """Mould a rim, ribs and a foot into a tote's wall."""
    rows, columns = face.shape[:2]
    shape = np.ones((rows, columns))
    shape[: max(1, round(rows * 0.10))] = 1.18
    shape[round(rows * 0.10) : round(rows * 0.14)] = 0.62
    shape[round(rows * 0.90) :] = 0.80
    middle = slice(round(rows * 0.30), round(rows * 0.90))
    for rib in range(1, 8):
        x = round(columns * rib / 8)
        shape[middle, x : x + max(1, columns // 60)] = 0.70
        shape[middle, max(0, x - max(1, columns // 60)) : x] = 1.22
    face[:] = np.clip(face * shape[..., None], 0, 255).astype(np.uint8)


def _heap(face: Image, picker: Picker) -> None:
    """Fill the view into a tote with small parts."""
    import cv2

    rows, columns = face.shape[:2]
    colours = design(picker).colours
    for _ in range(26):
        centre = (float(picker.between(0, columns)), float(picker.between(0, rows)))
        size = (picker.between(0.10, 0.24) * columns, picker.between(0.06, 0.14) * columns)
        corners = cv2.boxPoints((centre, size, picker.between(0, 180)))
        shade = picker.between(0.45, 0.95)
        colour = [round(c * shade) for c in colours[int(picker.chance.integers(len(colours)))]]
        cv2.fillConvexPoly(face, np.round(corners).astype(np.int32), colour, cv2.LINE_AA)


def _pallet(picker: Picker, density: float) -> Product:
    size = (picker.between(1.0, 1.08), 0.76, picker.between(0.14, 0.16))
    colour = picker.pick("wood", WOOD)
    front = _face((size[0], size[2]), density, colour)
    side = _face((size[1], size[2]), density, colour)
    top = _face(size[:2], density, colour)
    for face in (front, side, top):
        _grain(face, picker.chance, 9.0, 20)
    for face in (front, side):
        for gap in ((0.13, 0.30), (0.57, 0.30)):
            fill(face, (gap[0], 0.30, gap[1], 0.50), (16, 20, 24))
        fill(face, (0, 0.20, 1, 0.045), (40, 52, 62))
        fill(face, (0, 0.84, 1, 0.04), (40, 52, 62))
    for slat in range(1, 6):
        fill(top, (0, slat / 6 - 0.02, 1, 0.035), (30, 38, 46))
    return Product("pallet", size, front, side, top)


def _can(picker: Picker, density: float) -> Product:
    across, height = picker.between(0.095, 0.135), picker.between(0.12, 0.20)
    art = design(picker)
    wrap = _wrap(art.on(*_pixels(across * 1.25, height, density)), across, art.colours[0], density)
    rows = wrap.shape[0]
    rim = max(2, rows // 18)
    steel = np.array([(150, 154, 158), (214, 217, 219), (120, 124, 128)], np.uint8)
    for line in range(rim):
        wrap[line] = wrap[-1 - line] = steel[line * 3 // rim]
    lid = _face((across, across), density, (176, 180, 182))
    _rings(lid)
    return Product("can", (across, across, height), wrap, wrap, lid, CAN, 0.35)


def _rings(face: Image) -> None:
    """Turn rings and a pull tab into a lid."""
    import cv2

    rows, columns = face.shape[:2]
    centre = (columns // 2, rows // 2)
    for radius, colour in ((0.49, 120), (0.44, 215), (0.40, 140), (0.36, 190), (0.22, 165)):
        cv2.circle(face, centre, round(radius * columns), (colour,) * 3, -1, cv2.LINE_AA)
    cv2.ellipse(
        face, centre, (columns // 9, rows // 5), 0, 0, 360, (225, 228, 230), -1, cv2.LINE_AA
    )


def _bottle(picker: Picker, density: float) -> Product:
    across, height = picker.between(0.085, 0.12), picker.between(0.28, 0.36)
    profile, glass = picker.pick("bottle", BOTTLES), picker.pick("glass", GLASS)
    art = design(picker)
    wrap = _face((across * np.pi, height), density, glass)
    rows, columns = wrap.shape[:2]
    fall = np.linspace(1.12, 0.78, rows)[:, None, None]
    wrap[:] = np.clip(wrap * fall, 0, 255).astype(np.uint8)
    first, last = (round((1 - part) * rows) for part in profile.label[::-1])
    wide = round(columns * 0.46)
    tag = art.on(wide, max(8, last - first))
    left = (columns - wide) // 2
    wrap[first : first + len(tag)] = art.colours[0] if profile.sleeve else wrap[first : first + 1]
    wrap[first : first + len(tag), left : left + wide] = tag
    cap = round((1 - profile.cap) * rows)
    wrap[:cap] = art.colours[2]
    wrap[:cap, :: max(2, columns // 50)] = tuple(round(c * 0.8) for c in art.colours[2])
    wrap[cap : cap + max(1, rows // 90)] = (40, 40, 40)
    top = _face((across, across), density, art.colours[2])
    return Product("bottle", (across, across, height), wrap, wrap, top, profile, 0.8)


def _wrap(tag: Image, across: float, ground: Bgr, density: float) -> Image:
    """Return a whole wrap: the print at the front and again at the back."""
    wrap = _face((across * np.pi, 0.01), density, ground)
    wrap = np.repeat(wrap[:1], len(tag), axis=0)
    half = wrap.shape[1] // 2
    width = min(tag.shape[1], half)
    for centre in (half, 0):
        columns = np.arange(centre - width // 2, centre - width // 2 + width) % wrap.shape[1]
        wrap[:, columns] = tag[:, :width]
    return wrap


def _pixels(width_m: float, height_m: float, density: float) -> tuple[int, int]:
    return max(16, round(width_m * density)), max(16, round(height_m * density))


_MAKERS: dict[str, Callable[[Picker, float], Product]] = {
    "box": _box,
    "bottle": _bottle,
    "can": _can,
    "carton": _carton,
    "tote": _tote,
    "pallet": _pallet,
}
