"""The order in which a station's racks and goods are drawn: back to front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from .room import draw_room
from .scene import Layer
from .solids import draw_product
from .structure import RackBuilder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edge.frame import Image

    from .rack import Rack
    from .stock import Block
    from .views import Site, Station

_CARRIES_M = 10.0
"""Puts what carries others before everything else of its level."""


@dataclass(frozen=True)
class Stocked:
    """A rack and its goods: `numbers` are the objects' of each block, in the order of its items."""

    rack: Rack
    blocks: tuple[Block, ...]
    numbers: Mapping[int, tuple[int, ...]]
    marker: Image | None


def arrange(site: Site, station: Station, stocked: Sequence[Stocked], seed: int) -> list[Layer]:
    """Return the layers of what is seen from a station.

    Racks do not hide one another; within one, the planes between bays, boards and blocks order
    everything: what lies beyond a plane, seen from the camera, is drawn first.
    """
    room = station.room
    lighting = site.lighting(room.frame)
    layers = [Layer(0, partial(draw_room, room, station.camera, lighting, (seed,)))]
    drawn = [_RackOrder(site, station, one, (seed, n)) for n, one in enumerate(stocked)]
    layers += [Layer(0, one.builder.line) for one in drawn]
    for one in sorted(drawn, key=lambda order: -order.aside):
        layers += one.layers()
    return layers


class _RackOrder:
    """One rack as seen from one station."""

    def __init__(
        self, site: Site, station: Station, stocked: Stocked, seed: tuple[int, int]
    ) -> None:
        self._stocked, self._rack = stocked, stocked.rack
        self._camera = station.camera
        self._lighting = site.lighting(stocked.rack)
        self.builder = RackBuilder(stocked.rack, station.camera, self._lighting, site.steel, seed)
        eye = stocked.rack.local(station.camera.position[None])[0]
        self._eye_u, self._eye_h = float(eye[0]), float(eye[2])
        self.aside = abs(self._eye_u - stocked.rack.length / 2)

    def layers(self) -> list[Layer]:
        rack, marker = self._rack, self._stocked.marker
        here = self._eye_u / rack.bay_m
        columns = [(abs(bay + 0.5 - here), "bay", bay) for bay in range(rack.bays)]
        columns += [(abs(n - here), "upright", n) for n in range(rack.bays + 1)]
        layers: list[Layer] = []
        for _, kind, n in sorted(columns, reverse=True):
            if kind == "bay":
                layers += self._bay(n)
            else:
                layers.append(Layer(0, partial(self.builder.upright, n)))
        # Nothing of the rack stands before what hangs on it.
        for n in range(rack.bays + 1):
            layers.append(Layer(0, partial(self.builder.plates, n, marker)))
        layers.append(Layer(0, self.builder.sign))
        return layers

    def _bay(self, bay: int) -> list[Layer]:
        rack, eye = self._rack, self._eye_h
        parts: list[tuple[float, list[Layer]]] = []
        for level, low in enumerate(rack.levels):
            parts.append((abs(eye - low), [Layer(0, partial(self.builder.board, bay, level))]))
            outside = max(low - eye, eye - rack.ceiling(level), 0.0)
            inner = [Layer(0, partial(self.builder.back, bay, level)), *self._level(bay, level)]
            # A hair more than the board's: at the same distance the board hides the goods.
            parts.append((outside + 1e-6, inner))
        parts.sort(key=lambda part: -part[0])
        return [layer for _, group in parts for layer in group]

    def _level(self, bay: int, level: int) -> list[Layer]:
        blocks = [one for one in self._stocked.blocks if (one.bay, one.level) == (bay, level)]
        layers = []
        for block in sorted(blocks, key=lambda one: (-self._aside(one), one.number)):
            numbers = self._stocked.numbers[block.number]
            for number, item in sorted(
                zip(numbers, block.items, strict=True),
                key=lambda pair: (
                    -pair[1].row,
                    -abs(pair[1].spot.at[0] - self._eye_u),
                    -abs(pair[1].spot.at[2] - self._eye_h),
                ),
            ):
                draw = partial(draw_product, block.product, self._camera, self._lighting, item.spot)
                layers.append(Layer(number, draw))
        return layers

    def _aside(self, block: Block) -> float:
        centre = sum(item.spot.at[0] for item in block.items) / len(block.items)
        carries = _CARRIES_M if block.product.label == "pallet" else 0.0
        return abs(centre - self._eye_u) + carries
