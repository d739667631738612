"""Draw a rack: uprights, boards and beams, price rails, signs, markers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .painter import Painter, Spot
from .prints import bar_code, fill, write
from .rack import POST_M
from .surfaces import edges_of, lying, plain, standing, uneven

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Image

    from .camera_optics import Camera, Points
    from .patch import Patch
    from .rack import Lighting, Rack
    from .styles import Bgr


@dataclass(frozen=True)
class Steel:
    """A rack's paint and plates: BGR colours."""

    upright: Bgr
    beam: Bgr
    deck: Bgr
    sign: Bgr


_TEXTURE_AT_M = 1.8
"""Surfaces are fine enough for this distance from the camera."""


class RackBuilder:
    """Draws the parts of one rack as one camera sees them."""

    def __init__(
        self, rack: Rack, camera: Camera, lighting: Lighting, steel: Steel, seed: Sequence[int]
    ) -> None:
        self._rack, self._camera, self._lighting, self._steel = rack, camera, lighting, steel
        self._seed = list(seed)
        self._per_m = camera.focal_px / _TEXTURE_AT_M

    def _plain(self, width: float, height: float, colour: Bgr) -> Image:
        return plain(width, height, colour, self._per_m)

    def _pixels(self, metres: float) -> int:
        return max(1, round(metres * self._per_m))

    def _painter(self, outline: Points, ceiling: float | None) -> Painter:
        spot = Spot(self._rack, (0.0, 0.0, 0.0), ceiling=ceiling)
        return Painter(self._camera, self._lighting, spot, outline, reach=0.0)

    def _chance(self, *what: int) -> np.random.Generator:
        return np.random.default_rng([*self._seed, *what])

    def _sides(self, bay: int) -> tuple[float, float]:
        return bay * self._rack.bay_m, (bay + 1) * self._rack.bay_m

    def back(self, bay: int, level: int) -> Patch | None:
        """Draw the sheet behind a level and the inside of it."""
        rack = self._rack
        left, right = self._sides(bay)
        low, high = rack.levels[level], rack.ceiling(level)
        painter = self._painter(edges_of(left, right, low, high, rack.depth), high)
        if painter.sketch.region is None:
            return None
        sheet = self._plain(right - left, high - low, self._steel.deck)
        sheet = (sheet * 0.8).astype(np.uint8)
        pitch, hole = self._pixels(0.05), self._pixels(0.012)
        for shift in range(hole):
            sheet[shift::pitch, pitch // 2 :: pitch] = sheet[0, 0] // 3
            for wide in range(1, hole):
                sheet[shift::pitch, pitch // 2 + wide :: pitch] = sheet[0, 0] // 3
        painter.face(standing(left, right, low, high, rack.depth), sheet)
        return painter.sketch.finish()

    def board(self, bay: int, level: int) -> Patch | None:
        """Draw a level's board, the beam in front of it and the price rail on the beam."""
        rack = self._rack
        left, right = self._sides(bay)
        left, right = left + POST_M / 2, right - POST_M / 2
        top = rack.levels[level]
        below = rack.ceiling(level - 1) if level else 0.0
        outline = edges_of(left, right, below, top, rack.depth)
        painter = self._painter(outline, rack.ceiling(level))
        if painter.sketch.region is None:
            return None
        deck = self._plain(right - left, rack.depth, self._steel.deck)
        deck[:: self._pixels(0.0625)] = (deck[0, 0] * 0.75).astype(np.uint8)
        painter.face(lying(left, right, 0.0, rack.depth, top), deck)
        under = lying(left, right, 0.0, rack.depth, below)[[3, 2, 1, 0]]
        painter.face(under, (deck * 0.45).astype(np.uint8))
        painter.spot = Spot(rack, (0.0, 0.0, 0.0))
        front = self._beam(bay, level, right - left, top - below)
        painter.face(standing(left, right, below, top, -0.012), front)
        lip = self._plain(right - left, 0.02, self._steel.beam)
        painter.face(lying(left, right, -0.012, 0.03, top), lip)
        return painter.sketch.finish()

    def _beam(self, bay: int, level: int, width: float, height: float) -> Image:
        """Return a beam's front: a fold along its edges, the rail, a tag every so often."""
        chance = self._chance(1, bay, level)
        face = uneven(self._plain(width, height, self._steel.beam), chance, 2.0, 16)
        rows, columns = face.shape[:2]
        face[: max(1, rows // 10)] = np.clip(face[: max(1, rows // 10)] * 1.3, 0, 255)
        face[-max(1, rows // 8) :] = face[-max(1, rows // 8) :] // 2
        fill(face, (0, 0.24, 1, 0.52), (222, 226, 226))
        fill(face, (0, 0.24, 1, 0.04), (150, 155, 158))
        fill(face, (0, 0.73, 1, 0.03), (110, 114, 116))
        x = 0.05
        while x < 0.93:  # noqa: PLR2004 - parts of the rail
            self._tag(face[round(rows * 0.28) : round(rows * 0.73)], x, columns, chance)
            x += float(chance.uniform(0.09, 0.2))
        return face

    def _tag(self, rail: Image, x: float, columns: int, chance: np.random.Generator) -> None:
        yellow = chance.random() < 0.2  # noqa: PLR2004 - one in five is an offer
        left, width = round(x * columns), self._pixels(0.055)
        tag = rail[1:-1, left : left + width]
        if min(tag.shape[:2]) < 8:  # noqa: PLR2004 - too small to print on
            return
        tag[:] = (80, 222, 250) if yellow else (252, 252, 252)
        price = f"{chance.integers(1, 60)}.{chance.integers(0, 99):02d}"
        write(tag, price, (0.06, 0.10, 0.60, 0.42), (20, 20, 20))
        bar_code(tag, (0.06, 0.58, 0.6, 0.36), chance)

    def upright(self, number: int) -> Patch | None:
        """Draw an upright with its slots, and what closes the rack at its ends."""
        rack = self._rack
        centre = number * rack.bay_m
        left, right = centre - POST_M / 2, centre + POST_M / 2
        outline = edges_of(centre - 0.1, centre + 0.1, 0, rack.top, rack.depth)
        painter = self._painter(outline, None)
        if painter.sketch.region is None:
            return None
        chance = self._chance(2, number)
        post = uneven(self._plain(POST_M, rack.top, self._steel.upright), chance, 2.5, 24)
        columns = post.shape[1]
        edge = max(1, columns // 8)
        post[:, :edge] = np.clip(post[:, :edge] * 1.2, 0, 255)
        post[:, -edge:] = post[:, -edge:] // 3 * 2
        pitch, hole = self._pixels(0.05), self._pixels(0.016)
        for column in (columns // 3, columns * 2 // 3):
            for shift in range(hole):
                post[shift::pitch, column - hole // 4 : column + hole // 4 + 1] = (24, 24, 24)
        if number in {0, rack.bays}:
            self._end_panel(painter, centre)
        side = (post[:, ::2] * 0.8).astype(np.uint8)
        for d in (rack.depth, 0.0):
            near, far = d - 0.02, d + 0.06
            for u, order in ((left, (far, near)), (right, (near, far))):
                wall = np.array(
                    [(u, order[0], rack.top), (u, order[1], rack.top), (u, order[1], 0),
                     (u, order[0], 0)]
                )  # fmt: skip
                painter.face(wall, side)
            painter.face(standing(left, right, 0, rack.top, near), post)
        return painter.sketch.finish()

    def _end_panel(self, painter: Painter, u: float) -> None:
        """Close a rack's end with a sheet, seen from outside or from inside."""
        rack = self._rack
        sheet = self._plain(rack.depth, rack.top, self._steel.deck)
        sheet[:, :: self._pixels(0.125)] = (sheet[0, 0] * 0.8).astype(np.uint8)
        end = np.array(
            [(u, 0.0, rack.top), (u, rack.depth, rack.top), (u, rack.depth, 0), (u, 0.0, 0)]
        )
        inside, outside, left = end, end[[1, 0, 3, 2]], 0.42
        if u > 0:
            inside, outside, left = outside, inside, 0.06
        painter.face(inside, sheet)
        fill(sheet, (left, 0.14, 0.52, 0.22), self._steel.sign)
        write(sheet, "AISLE", (left + 0.06, 0.155, 0.40, 0.05), (255, 255, 255))
        write(sheet, self._rack.aisle, (left + 0.06, 0.215, 0.40, 0.13), (255, 255, 255))
        painter.face(outside, sheet)

    def plates(self, number: int, marker: Image | None) -> Patch | None:
        """Draw what hangs on an upright: a plate with the aisle and its number, a marker."""
        centre = number * self._rack.bay_m
        outline = edges_of(centre - 0.1, centre + 0.1, 1.02, 1.47, 0.0)
        painter = self._painter(outline, None)
        if painter.sketch.region is None:
            return None
        plate = self._plain(0.12, 0.07, (245, 245, 245))
        fill(plate, (0.03, 0.05, 0.94, 0.90), self._steel.sign)
        write(plate, f"{self._rack.aisle}-{number + 1}", (0.1, 0.2, 0.8, 0.6), (255, 255, 255))
        painter.face(standing(centre - 0.06, centre + 0.06, 1.40, 1.47, -0.03), plate)
        if marker is not None:
            painter.face(standing(centre - 0.08, centre + 0.08, 1.02, 1.18, -0.03), marker)
        return painter.sketch.finish()

    def line(self) -> Patch | None:
        """Draw the yellow line on the floor along the rack, and the rack's own shadow."""
        rack = self._rack
        flat = lying(-0.1, rack.length + 0.1, -0.40, -0.33, 0.0)
        shadow = lying(-0.1, rack.length + 0.1, -0.10, rack.depth, 0.0)
        painter = self._painter(np.concatenate([flat, shadow]), None)
        if painter.sketch.region is None:
            return None
        paint = uneven(self._plain(rack.length, 0.07, (40, 190, 235)), self._chance(4), 12.0, 8)
        painter.face(flat, paint)
        painter.sketch.shadow(painter.sketch.pixels(rack.world(shadow)), 0.6, 40)
        return painter.sketch.finish()

    def sign(self) -> Patch | None:
        """Draw the aisle's sign above the rack."""
        rack = self._rack
        centre, width, height = rack.length / 2, 0.62, 0.20
        low = rack.top - 0.12
        outline = edges_of(centre - width / 2, centre + width / 2, low, low + height, 0.0)
        painter = self._painter(outline, None)
        if painter.sketch.region is None:
            return None
        board = self._plain(width, height, self._steel.sign)
        fill(board, (0.02, 0.06, 0.96, 0.04), (255, 255, 255))
        fill(board, (0.02, 0.90, 0.96, 0.04), (255, 255, 255))
        write(board, f"AISLE {rack.aisle}", (0.08, 0.24, 0.84, 0.52), (255, 255, 255))
        left, right = centre - width / 2, centre + width / 2
        painter.face(standing(left, right, low, low + height, -0.06), board)
        return painter.sketch.finish()
