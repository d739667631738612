"""Where racks, lamps and the camera are in each view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .camera_optics import look_at
from .options import View
from .rack import Lamp, Lighting, Rack
from .structure import Room, Steel
from .styles import FLOORS, LIGHTS, RACKS, SIGNS, WALLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .camera_optics import Camera, Points
    from .options import WorldOptions
    from .styles import Light, Picker

_DEPTH_M = 0.80
_LAMP_HIGH_M = 3.3


@dataclass(frozen=True)
class Site:
    """A place to stand in: what a camera looks at, and the light it stands in."""

    camera: Camera
    racks: tuple[Rack, ...]
    room: Room
    steel: Steel
    light: Light
    lamps: tuple[tuple[float, float, float], ...]
    """In world metres."""
    path: tuple[Points, Points]
    """Where people walk, from and to, in world metres."""

    def lighting(self, rack: Rack) -> Lighting:
        """Return the light as a rack sees it."""
        placed = rack.local(np.array(self.lamps))
        power = self.light.power / len(self.lamps) ** 0.5
        lamps = tuple(Lamp((float(p[0]), float(p[1]), float(p[2])), power) for p in placed)
        return Lighting(self.light.ambient, lamps, self.light.tint)


def make_site(options: WorldOptions, picker: Picker) -> Site:
    """Choose a site for a view."""
    return {View.SHELF: _shelf, View.AISLE: _aisle}[options.view](options, picker)


def _levels(picker: Picker) -> tuple[tuple[float, ...], float]:
    """Return the heights of the boards and of the top, metres."""
    heights = [0.10]
    clear = [0.52, 0.46, 0.44] if picker.between(0, 1) < 0.7 else [0.62, 0.52]  # noqa: PLR2004
    for height in clear:
        heights.append(heights[-1] + height + picker.between(-0.02, 0.04))
    return tuple(heights), heights[-1] + picker.between(0.42, 0.50)


def _rack(aisle: str, place: tuple[Points, Points, Points], bays: int, picker: Picker) -> Rack:
    levels, top = _levels(picker)
    return Rack(aisle, *place, bays, picker.between(1.24, 1.36), levels, top, _DEPTH_M)


def _axes(*numbers: Sequence[float]) -> tuple[Points, Points, Points]:
    origin, along, inward = (np.array(three, np.float64) for three in numbers)
    return origin, along, inward


def _steel(picker: Picker) -> Steel:
    return Steel(*picker.pick("rack", RACKS), picker.pick("sign", SIGNS))


def _row_of_lamps(
    light: Light, start: Points, end: Points
) -> tuple[tuple[float, float, float], ...]:
    share = (np.arange(light.lamps) + 0.5) / light.lamps + light.lean * 0.35
    return tuple(
        (float(p[0]), float(p[1]), float(p[2]))
        for p in start + np.clip(share, 0, 1)[:, None] * (end - start)
    )


def _shelf(options: WorldOptions, picker: Picker) -> Site:
    """Look straight at the racks of one aisle, or of two side by side."""
    across = _axes((0, 0, 0), (1, 0, 0), (0, 1, 0))
    racks = [_rack(options.aisles[0], across, 3 - len(options.aisles), picker)]
    if len(options.aisles) > 1:
        gap = 0.34 if picker.between(0, 1) < 0.5 else 0.09  # noqa: PLR2004 - half of them
        start = (racks[0].length + gap, 0, 0)
        racks.append(_rack(options.aisles[1], (np.array(start), *across[1:]), 1, picker))
    end = float(racks[-1].origin[0]) + racks[-1].length
    high = max(rack.top for rack in racks) + 0.16
    width = max(end + 0.30, high * options.resolution_wh[0] / options.resolution_wh[1])
    angle = np.radians(picker.between(44, 58))
    away = width / 2 / float(np.tan(angle / 2)) + 0.12
    eye = (
        end / 2 + picker.between(-0.5, 0.5),
        -away,
        picker.between(1.15, 1.75),
    )
    target = (end / 2 + picker.between(-0.03, 0.03), 0.0, high / 2 + picker.between(-0.02, 0.02))
    barrel = picker.between(0.03, 0.09)
    camera = look_at(eye, target, angle, options.resolution_wh, barrel)
    light = picker.pick("light", LIGHTS)
    room = Room(
        racks[0], -5.0, end + 5.0, 0.7 - away, 1.9, picker.pick("floor", FLOORS),
        picker.pick("wall", WALLS),
    )  # fmt: skip
    ends = np.array([(-0.5, -1.5, _LAMP_HIGH_M), (end + 0.5, -1.5, _LAMP_HIGH_M)])
    path = (np.array((-1.6, -0.75, 0.0)), np.array((end + 1.6, -0.75, 0.0)))
    lamps = _row_of_lamps(light, *ends)
    return Site(camera, tuple(racks), room, _steel(picker), light, lamps, path)


def _aisle(options: WorldOptions, picker: Picker) -> Site:
    """Look down an aisle from under the ceiling: a rack on either side."""
    half, bays = picker.between(1.05, 1.30), 4
    left = _rack(options.aisles[0], _axes((-half, 0, 0), (0, 1, 0), (-1, 0, 0)), bays, picker)
    right = _rack(options.aisles[-1], _axes((half, 0, 0), (0, -1, 0), (1, 0, 0)), bays, picker)
    right = Rack(
        right.aisle, right.origin + (0, right.length, 0), right.along, right.inward, bays,
        right.bay_m, right.levels, right.top, right.depth,
    )  # fmt: skip
    far = max(left.length, right.length)
    eye = (picker.between(-0.25, 0.25), picker.between(-2.2, -1.7), picker.between(2.3, 2.8))
    target = (picker.between(-0.1, 0.1), 2.6, 0.80)
    angle = np.radians(picker.between(60, 68))
    camera = look_at(eye, target, angle, options.resolution_wh, picker.between(0.04, 0.10))
    light = picker.pick("light", LIGHTS)
    ground = Rack("", *_axes((0, 0, 0), (1, 0, 0), (0, 1, 0)), 1, 1.0, (0.0,), 3.0, 1.0)
    room = Room(
        ground, -5.0, 5.0, eye[1] + 1.0, far + 2.6, picker.pick("floor", FLOORS),
        picker.pick("wall", WALLS),
    )  # fmt: skip
    ends = np.array([(0.0, 0.0, _LAMP_HIGH_M), (0.0, far, _LAMP_HIGH_M)])
    path = (np.array((0.0, 0.4, 0.0)), np.array((0.0, far + 2.0, 0.0)))
    lamps = _row_of_lamps(light, *ends)
    return Site(camera, (left, right), room, _steel(picker), light, lamps, path)
