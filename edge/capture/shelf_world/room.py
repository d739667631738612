"""Draw the room: the floor and the wall behind everything."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .painter import Painter, Spot
from .surfaces import edges_of, lying, standing, uneven

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Image

    from .camera_optics import Camera
    from .patch import Patch
    from .rack import Lighting, Rack
    from .styles import Bgr


@dataclass(frozen=True)
class Room:
    """Floor and far wall in the axes of `frame`, metres, and their colours BGR."""

    frame: Rack
    left: float
    right: float
    front: float
    back: float
    floor: Bgr
    wall: Bgr


def draw_room(room: Room, camera: Camera, lighting: Lighting, seed: Sequence[int]) -> Patch | None:
    """Draw the floor and the wall behind everything."""
    high = 9.0
    outline = np.concatenate(
        [
            edges_of(room.left, room.right, 0.0, high, room.back),
            lying(room.left, room.right, room.front, room.back, 0.0),
        ]
    )
    spot = Spot(room.frame, (0.0, 0.0, 0.0))
    painter = Painter(camera, lighting, spot, outline, reach=0.0)
    wall = standing(room.left, room.right, 0.0, high, room.back)
    painter.face(wall, _panels(room.wall, tuple(seed)))
    floor = lying(room.left, room.right, room.front, room.back, 0.0)
    painter.face(floor, _concrete(room.floor, tuple(seed)))
    return painter.sketch.finish()


# A camera that moves sees the same wall and floor from every station.
@lru_cache(maxsize=2)
def _panels(colour: Bgr, seed: tuple[int, ...]) -> Image:
    """Return a wall of sheets with a rail across."""
    chance = np.random.default_rng([*seed, 3])
    wall = uneven(np.full((270, 900, 3), colour, np.uint8), chance, 3.0, 20)
    wall[:, ::75] = (wall[:, ::75] * 0.8).astype(np.uint8)
    wall[196:200] = (wall[196:200] * 0.85).astype(np.uint8)
    return wall


@lru_cache(maxsize=2)
def _concrete(colour: Bgr, seed: tuple[int, ...]) -> Image:
    """Return a floor: blotches, joints, scuffs."""
    import cv2

    chance = np.random.default_rng([*seed, 4])
    floor = uneven(np.full((700, 1800, 3), colour, np.uint8), chance, 5.0, 60)
    for _ in range(40):
        start = chance.uniform((0, 0), (1800, 700))
        end = start + chance.normal(0, (90, 12))
        cv2.line(
            floor,
            (int(start[0]), int(start[1])),
            (int(end[0]), int(end[1])),
            [round(c * 0.82) for c in colour],
            int(chance.integers(1, 4)),
            cv2.LINE_AA,
        )
    floor[:, ::450] = (floor[:, ::450] * 0.6).astype(np.uint8)
    return floor
