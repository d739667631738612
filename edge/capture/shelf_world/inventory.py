"""All goods of a world: on which rack, under which number, and which of them are there now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .arrangement import Stocked
from .markers import marker_ids, marker_plate
from .products import make_product
from .splits import allows
from .stock import Stocker, Timeline

if TYPE_CHECKING:
    from .options import WorldOptions
    from .painter import Spot
    from .products import Product
    from .rack import Rack
    from .stock import Block
    from .styles import Picker
    from .views import Site

_TEXTURE_AT_M = 1.5
"""Prints are fine enough for this distance from the camera."""


class Inventory:
    """Fills the racks of a site, and follows what is taken from them and put back."""

    def __init__(self, options: WorldOptions, site: Site, picker: Picker) -> None:
        self._options, self._camera = options, site.stations[0].camera
        self._goods: dict[int, tuple[Block, Rack]] = {}
        self._stock: list[tuple[Timeline, tuple[int, ...]]] = []
        density = self._camera.focal_px / _TEXTURE_AT_M
        stocker = Stocker(picker, lambda name: make_product(name, picker, density), self._fits)
        racks = dict.fromkeys(rack for station in site.stations for rack in station.racks)
        self._stocked = [self._stock_up(rack, stocker.fill(rack)) for rack in racks]

    def on(self, racks: tuple[Rack, ...]) -> list[Stocked]:
        """Return what some of the racks hold."""
        return [one for one in self._stocked if one.rack in racks]

    def present(self, time_s: float) -> frozenset[int]:
        """Return the numbers of the goods that are there at a time."""
        return frozenset(
            number
            for timeline, numbers in self._stock
            for number in numbers[: timeline.count(time_s)]
        )

    def of(self, number: int) -> tuple[Block, Rack]:
        """Return the block and the rack of a number."""
        return self._goods[number]

    def _stock_up(self, rack: Rack, blocks: list[Block]) -> Stocked:
        numbers = {}
        for block in blocks:
            first = len(self._goods) + 1
            numbers[block.number] = tuple(range(first, first + len(block.items)))
            self._goods.update(dict.fromkeys(numbers[block.number], (block, rack)))
            timeline = Timeline(self._options.seed, block, self._options.cycle_s)
            self._stock.append((timeline, numbers[block.number]))
        marker = None
        if self._options.markers:
            marker = marker_plate(marker_ids(self._options.aisles)[rack.aisle])
        return Stocked(rack, tuple(blocks), numbers, marker)

    def _fits(self, spot: Spot, product: Product) -> bool:
        """Whether the split of locations allows a product there, hidden parts included."""
        width, depth, height = product.size[0] / 2, product.size[1] / 2, product.size[2]
        corners = np.array(
            [(x, y, z) for x in (-width, width) for y in (-depth, depth) for z in (0, height)]
        )
        pixels = self._camera.project(spot.world(corners))
        low, high = pixels.min(axis=0) - 1.0, pixels.max(axis=0) + 2.0
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        return allows(product.label, self._options.locations, box, self._options.resolution_wh)
