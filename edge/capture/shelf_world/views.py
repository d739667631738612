"""Where racks, lamps and the camera are in each view."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .camera_optics import look_at
from .options import View
from .rack import Lamp, Lighting, Rack
from .room import Room
from .structure import Steel
from .styles import FLOORS, LIGHTS, RACKS, SIGNS, WALLS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .camera_optics import Camera, Points
    from .options import WorldOptions
    from .styles import Bgr, Light, Picker

Metres = tuple[float, float, float]

_DEPTH_M = 0.80
_LAMP_HIGH_M = 3.3
_MAST_BAYS = 4


@dataclass(frozen=True)
class Station:
    """Where the camera stands, and what it can see from there."""

    camera: Camera
    racks: tuple[Rack, ...]
    room: Room
    margin_px: int = 0
    """What the camera sees left and right of the picture, for when it moves on."""

    def zones(self) -> dict[str, list[tuple[float, float]]]:
        """Return the outline of each aisle's racks in the picture: corners, as fractions of it.

        Two racks of one aisle make one outline.
        """
        found: dict[str, list[Points]] = {}
        for rack in self.racks:
            corners = [
                (u, d, h)
                for u in (0.0, rack.length)
                for d in (0.0, rack.depth)
                for h in (0.0, rack.top)
            ]
            found.setdefault(rack.aisle, []).append(rack.world(np.array(corners)))
        return {aisle: self._outline(np.concatenate(corners)) for aisle, corners in found.items()}

    def _outline(self, corners: Points) -> list[tuple[float, float]]:
        import cv2

        width, height = self.camera.resolution_wh
        width -= 2 * self.margin_px
        pixels = (self.camera.project(corners) - (self.margin_px, 0)).astype(np.float32)
        hull = np.asarray(cv2.convexHull(pixels), np.float64).reshape(-1, 2)
        inside = np.clip(hull / (width, height), 0.0, 1.0).round(4)
        return [(float(x), float(y)) for x, y in inside]


@dataclass(frozen=True)
class Site:
    """A place to look at: where from, and in what light."""

    stations: tuple[Station, ...]
    """One for a camera that does not move; else in the order of its way."""
    steel: Steel
    light: Light
    lamps: tuple[Metres, ...]
    """In world metres."""
    path: tuple[Points, Points] | None
    """Where people walk, from and to, in world metres; None: nobody does."""

    def lighting(self, rack: Rack) -> Lighting:
        """Return the light as a rack sees it."""
        placed = rack.local(np.array(self.lamps))
        power = self.light.power / len(self.lamps) ** 0.5
        lamps = tuple(Lamp((float(p[0]), float(p[1]), float(p[2])), power) for p in placed)
        return Lighting(self.light.ambient, lamps, self.light.tint)

    def nearest(self, world: Points) -> str:
        """Return the aisle of the rack that a point (3,) on the floor is nearest to."""

        def way(rack: Rack) -> float:
            u, d, _ = rack.local(world[None])[0]
            return float(np.hypot(max(-u, u - rack.length, 0.0), d))

        return min((rack for one in self.stations for rack in one.racks), key=way).aisle

    def brightness(self) -> Points:
        """Return how brightly people before the racks are lit: factors (3,), BGR."""
        rack = self.stations[0].racks[0]
        lighting = self.lighting(rack)
        chest = np.array([(rack.length / 2, -0.7, 1.2)])
        shade = lighting.shade(chest, np.array([0.0, -1.0, 0.0]), None)
        bright: Points = np.array(lighting.tint) * float(shade[0])
        return bright


def make_site(options: WorldOptions, picker: Picker) -> Site:
    """Choose a site for a view."""
    views = {View.SHELF: _shelf, View.AISLE: _aisle, View.MAST: _mast}
    return views[options.view](options, picker)


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
    upright, beam, deck = picker.pick("rack", RACKS)
    return Steel(upright, beam, deck, picker.pick("sign", SIGNS))


def _row_of_lamps(light: Light, start: Points, end: Points) -> tuple[Metres, ...]:
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
    high = max(rack.top for rack in racks) + 0.05
    width = max(end + 0.20, high * options.resolution_wh[0] / options.resolution_wh[1])
    angle = np.radians(picker.between(44, 58))
    away = width / 2 / float(np.tan(angle / 2)) + 0.05
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
        racks[0], -8.0, end + 8.0, 0.7 - away, 1.9, picker.pick("floor", FLOORS),
        picker.pick("wall", WALLS),
    )  # fmt: skip
    ends = np.array([(-0.5, -1.5, _LAMP_HIGH_M), (end + 0.5, -1.5, _LAMP_HIGH_M)])
    path = (np.array((-1.6, -0.60, 0.0)), np.array((end + 1.6, -0.60, 0.0)))
    lamps = _row_of_lamps(light, *ends)
    stations = (Station(camera, tuple(racks), room),)
    return Site(stations, _steel(picker), light, lamps, path)


def _aisle(options: WorldOptions, picker: Picker) -> Site:
    """Look down an aisle from under the ceiling: a rack on either side."""
    half, bays = picker.between(1.05, 1.30), 4
    left = _rack(options.aisles[0], _axes((-half, 0, 0), (0, 1, 0), (-1, 0, 0)), bays, picker)
    right = _rack(options.aisles[-1], _axes((half, 0, 0), (0, -1, 0), (1, 0, 0)), bays, picker)
    right = replace(right, origin=right.origin + np.array([0.0, right.length, 0.0]))
    far = max(left.length, right.length)
    eye = (picker.between(-0.25, 0.25), picker.between(-2.2, -1.7), picker.between(2.3, 2.8))
    target = (picker.between(-0.1, 0.1), 2.6, 0.80)
    angle = np.radians(picker.between(60, 68))
    camera = look_at(eye, target, angle, options.resolution_wh, picker.between(0.04, 0.10))
    light = picker.pick("light", LIGHTS)
    ground = Rack("", *_axes((0, 0, 0), (1, 0, 0), (0, 1, 0)), 1, 1.0, (0.0,), 3.0, 1.0)
    room = Room(
        ground, -12.0, 12.0, eye[1] + 1.0, far + 2.6, picker.pick("floor", FLOORS),
        picker.pick("wall", WALLS),
    )  # fmt: skip
    ends = np.array([(0.0, 0.0, _LAMP_HIGH_M), (0.0, far, _LAMP_HIGH_M)])
    path = (np.array((0.0, 0.4, 0.0)), np.array((0.0, far + 2.0, 0.0)))
    lamps = _row_of_lamps(light, *ends)
    stations = (Station(camera, (left, right), room),)
    return Site(stations, _steel(picker), light, lamps, path)


def _mast(options: WorldOptions, picker: Picker) -> Site:
    """Drive along the racks of every aisle, one after the other, and stop before every bay."""
    stations: list[Station] = []
    angle = np.radians(picker.between(56, 64))
    floor, wall = picker.pick("floor", FLOORS), picker.pick("wall", WALLS)
    for number, aisle in enumerate(options.aisles):
        place = _axes((0, number * 5.0, 0), (1, 0, 0), (0, 1, 0))
        stations += _stops(_rack(aisle, place, _MAST_BAYS, picker), angle, options, (floor, wall))
    light = picker.pick("light", LIGHTS)
    length = _MAST_BAYS * stations[0].racks[0].bay_m
    ends = np.array([(0.0, -1.5, _LAMP_HIGH_M), (length, -1.5, _LAMP_HIGH_M)])
    lamps = _row_of_lamps(light, *ends)
    return Site(tuple(stations), _steel(picker), light, lamps, None)


def _stops(
    rack: Rack, angle: float, options: WorldOptions, colours: tuple[Bgr, Bgr]
) -> list[Station]:
    """Return a station before every bay of a rack, the camera level with its middle."""
    width, height = options.resolution_wh
    away = (rack.top - 0.1) * width / height / 2 / float(np.tan(angle / 2))
    per_m = width / 2 / float(np.tan(angle / 2)) / away
    margin = round(rack.bay_m / 2 * per_m) + 2
    wide = width + 2 * margin
    angle = 2 * float(np.arctan(np.tan(angle / 2) * wide / width))
    room = Room(rack, -8.0, rack.length + 8.0, 0.7 - away, 1.9, *colours)
    stations = []
    for bay in range(rack.bays):
        u = (bay + 0.5) * rack.bay_m
        points = rack.world(np.array([(u, -away, rack.top * 0.54), (u, 0.0, rack.top * 0.54)]))
        camera = look_at(points[0].tolist(), points[1].tolist(), angle, (wide, height), 0.0)
        stations.append(Station(camera, (rack,), room, margin))
    return stations
