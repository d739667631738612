"""Who walks through the picture, when, and how they look from the camera."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .figures import CARTS, OUTFITS, cart, draw_figure, person
from .options import View
from .patch import Patch
from .styles import Picker

if TYPE_CHECKING:
    from .camera_optics import Camera, Points
    from .figures import Capsule, Sprite
    from .options import WorldOptions

_SLOT_S = 14.0
"""One pass begins in every slot of that length, or none."""
_EMPTY_SLOTS = 0.2
_WITH_CART = 0.5
_LONGEST_PASS_SLOTS = 2
_STRIDE_M = 1.35
_STRIDES = 10
_TURNS, _RISES = 24, 30
"""Steps of a whole turn, and of a right angle, that sprites are drawn at."""
_LARGEST_SPRITE = 190.0
"""Pixels per metre above which a sprite is drawn smaller and enlarged."""
_SPRITES_KEPT = 40
_MIDDLE_M = 1.0
_HALF = 128
_FIRST_NUMBER = 50_000
_NUMBERS = 5_000


@dataclass(frozen=True)
class Walker:
    """A person or a cart at one moment: where, in world metres, and where it is heading."""

    number: int
    label: str
    at: Points
    heading: Points
    look: tuple[int, int, int]
    """Outfit or paint, step of the stride, pushing or not."""


class Walkers:
    """Everybody who ever walks along a path (from, to, world metres), from a seed.

    `bright` (3,) are the BGR factors of the light they walk in.
    """

    def __init__(
        self, options: WorldOptions, camera: Camera, path: tuple[Points, Points], bright: Points
    ) -> None:
        self._seed, self._split = options.seed, options.style
        self._camera, self._path, self._bright = camera, path, bright
        # An aisle seen along its length has no way out at the far end: they come back.
        self._back = options.view is View.AISLE
        self._sprites: OrderedDict[tuple[object, ...], Sprite] = OrderedDict()

    def at(self, time_s: float) -> list[Walker]:
        """Return who is on the path, the farthest from the camera first."""
        slot = int(time_s // _SLOT_S)
        found: list[Walker] = []
        for number in range(max(0, slot - _LONGEST_PASS_SLOTS), slot + 1):
            found += self._pass(number, time_s)
        return sorted(found, key=lambda one: -float(self._camera.depth(one.at[None])[0]))

    def _pass(self, slot: int, time_s: float) -> list[Walker]:
        chance = np.random.default_rng([self._seed, 21, slot])
        picker = Picker(self._split, chance)
        if chance.random() < _EMPTY_SLOTS:
            return []
        start = slot * _SLOT_S + float(chance.uniform(0, _SLOT_S * 0.6))
        speed = float(chance.uniform(0.8, 1.35))
        pushing = chance.random() < _WITH_CART
        forward = self._back or chance.random() < 0.5  # noqa: PLR2004 - as many either way
        outfit = OUTFITS.index(picker.pick("outfit", OUTFITS))
        paint = CARTS.index(picker.pick("cart", CARTS))
        sideways = float(chance.uniform(-0.15, 0.15))
        begin, end = self._path if forward else self._path[::-1]
        length = float(np.linalg.norm(end - begin))
        way = (end - begin) / length
        gone = (time_s - start) * speed
        if not 0 <= gone <= (2 * length if self._back else length):
            return []
        beside = np.array([-way[1], way[0], 0.0]) * sideways
        if gone > length:
            gone, begin, way = gone - length, end, -way
        at = begin + way * gone + beside
        step = int(gone / _STRIDE_M * _STRIDES) % _STRIDES
        number = _FIRST_NUMBER + slot % _NUMBERS * 2
        walkers = [Walker(number, "person", at, way, (outfit, step, int(pushing)))]
        if pushing:
            walkers.append(Walker(number + 1, "cart", at + way * 0.86, way, (paint, 0, 0)))
        return walkers

    def patch(self, walker: Walker) -> Patch | None:
        """Return how a walker looks now; None when it is beside or behind the lens."""
        import cv2

        middle = walker.at + np.array([0.0, 0.0, _MIDDLE_M])
        depth = float(self._camera.depth(middle[None])[0])
        if depth < 0.5:  # noqa: PLR2004 - metres
            return None
        pinhole = self._camera.pinhole(middle[None])
        centre = self._camera.bend(pinhole)[0]
        nudge = self._camera.bend(pinhole + 1.0)[0] - centre
        scale = self._camera.focal_px / depth * float(nudge.mean())
        sprite = self._sprite(walker, scale)
        grown = scale / sprite.pixels_per_m
        rows, columns = sprite.cover.shape
        size = (max(1, round(columns * grown)), max(1, round(rows * grown)))
        left, top = (
            round(float(c) + way * grown) for c, way in zip(centre, sprite.corner, strict=True)
        )
        colour, cover, keep = (
            np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_LINEAR), np.uint8)
            for part in (sprite.colour, sprite.cover, sprite.keep)
        )
        solid = cover >= _HALF
        region = (left, top, left + size[0], top + size[1])
        return Patch(region, colour, keep, solid, int(np.count_nonzero(solid)))

    def _sprite(self, walker: Walker, scale: float) -> Sprite:
        ray = self._camera.position - (walker.at + np.array([0.0, 0.0, _MIDDLE_M]))
        facing = np.arctan2(walker.heading[1], walker.heading[0])
        turn = float(np.arctan2(ray[1], ray[0]) - facing)
        rise = float(np.arctan2(ray[2], np.hypot(ray[0], ray[1])))
        turn_step = round(turn / (2 * np.pi) * _TURNS) % _TURNS
        rise_step = round(rise / (np.pi / 2) * _RISES)
        # Sizes go in steps of a half, so that somebody walking away is not drawn anew all the time.
        finest = _LARGEST_SPRITE / 1.5 ** max(
            0, int(np.floor(np.log(max(_LARGEST_SPRITE / scale, 1.0)) / np.log(1.5)))
        )
        key = (walker.label, walker.look, turn_step, rise_step, finest)
        found = self._sprites.get(key)
        if found is None:
            angles = (turn_step / _TURNS * 2 * np.pi, rise_step / _RISES * np.pi / 2)
            found = draw_figure(_body(walker), *angles, finest, self._bright)
            self._sprites[key] = found
            if len(self._sprites) > _SPRITES_KEPT:
                self._sprites.popitem(last=False)
        self._sprites.move_to_end(key)
        return found


def _body(walker: Walker) -> list[Capsule]:
    look, step, pushing = walker.look
    if walker.label == "cart":
        return cart(CARTS[look])
    return person(OUTFITS[look], step / _STRIDES, pushing=bool(pushing))
