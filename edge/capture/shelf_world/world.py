"""The shelf world: a picture and its ground truth for any moment, from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from .annotations import MIN_SIDE_PX, MIN_VISIBLE, Placed
from .products import make_product
from .scene import Layer, Scene
from .solids import draw_product
from .splits import allows
from .stock import Stocker, Timeline
from .structure import RackBuilder, draw_room
from .styles import Picker
from .views import make_site

if TYPE_CHECKING:
    from edge.frame import Image

    from .options import WorldOptions
    from .patch import Patch
    from .products import Product
    from .rack import Rack
    from .solids import Spot
    from .stock import Block

_TEXTURE_SHARE = 1.0


@dataclass(frozen=True)
class _Thing:
    """What is known of an object on a shelf, whether it is there or not."""

    block: Block
    rack: Rack


class ShelfWorld:
    """One camera in a procedural warehouse.

    `frame` is a function of the options and the time alone: any moment can be asked for, in any
    order, and comes out the same to the byte on one machine and one version of OpenCV.
    """

    def __init__(self, options: WorldOptions) -> None:
        self.options = options
        self.picker = Picker(options.style, np.random.default_rng([options.seed, 1]))
        self._site = make_site(options, self.picker)
        self._things: dict[int, _Thing] = {}
        self._stock: list[tuple[Timeline, tuple[int, ...]]] = []
        chance = np.random.default_rng([options.seed, 2])
        self._scene = Scene(
            self._layers(),
            options.resolution_wh,
            float(chance.uniform(0.0, 0.75)),
            float(chance.uniform(0.05, 0.30)),
        )

    def frame(self, time_s: float) -> tuple[Image, list[Placed]]:
        """Return the picture, uint8 (H, W, 3) BGR, and what it shows, at seconds from the start."""
        self._scene.show(self._present(time_s))
        image = self._scene.image.copy()
        return image, self._placed()

    def _present(self, time_s: float) -> frozenset[int]:
        return frozenset(
            number
            for timeline, numbers in self._stock
            for number in numbers[: timeline.count(time_s)]
        )

    def _placed(self) -> list[Placed]:
        placed = []
        for seen in self._scene.seen.values():
            left, top, right, bottom = seen.box
            visible = seen.pixels / max(1, seen.whole)
            if visible < MIN_VISIBLE or min(right - left, bottom - top) < MIN_SIDE_PX:
                continue
            thing = self._things[seen.number]
            placed.append(
                Placed(
                    seen.number,
                    thing.block.product.label,
                    seen.box,
                    min(1.0, visible),
                    thing.rack.aisle,
                    thing.block.bay,
                    thing.block.level,
                )
            )
        return sorted(placed, key=lambda one: one.number)

    def _layers(self) -> list[Layer]:
        site, seed = self._site, [self.options.seed]
        density = site.camera.focal_px / 2.2 * 2 * _TEXTURE_SHARE
        stocker = Stocker(
            self.picker, lambda name: make_product(name, self.picker, density), self._fits
        )
        lighting = site.lighting(site.room.frame)
        layers = [Layer(0, partial(draw_room, site.room, site.camera, lighting, seed))]
        builders = {
            id(rack): RackBuilder(rack, site.camera, site.lighting(rack), site.steel, [*seed, n])
            for n, rack in enumerate(site.racks)
        }
        layers += [Layer(0, builders[id(rack)].line) for rack in site.racks]
        stocked = [(rack, stocker.fill(rack)) for rack in site.racks]
        for rack, blocks in sorted(stocked, key=lambda one: -self._aside(one[0])):
            layers += self._rack_layers(rack, blocks, builders[id(rack)])
        return layers

    def _eye(self, rack: Rack) -> tuple[float, float]:
        """Return the camera's u and h in a rack's axes."""
        local = rack.local(self._site.camera.position[None])[0]
        return float(local[0]), float(local[2])

    def _aside(self, rack: Rack) -> float:
        return abs(self._eye(rack)[0] - rack.length / 2)

    def _rack_layers(self, rack: Rack, blocks: list[Block], builder: RackBuilder) -> list[Layer]:
        """Return a rack's layers, back to front: planes between bays and boards order them."""
        eye_u, eye_h = self._eye(rack)
        marker = None
        columns = [(abs(bay + 0.5 - eye_u / rack.bay_m), "bay", bay) for bay in range(rack.bays)]
        columns += [(abs(n - eye_u / rack.bay_m), "upright", n) for n in range(rack.bays + 1)]
        layers: list[Layer] = []
        for _, kind, n in sorted(columns, reverse=True):
            if kind == "upright":
                plate = f"{rack.aisle}-{n + 1}"
                layers.append(Layer(0, partial(builder.upright, n, plate, marker)))
                continue
            parts: list[tuple[float, list[Layer]]] = []
            for level, low in enumerate(rack.levels):
                parts.append((abs(eye_h - low), [Layer(0, partial(builder.board, n, level))]))
                high = rack.ceiling(level)
                here = [block for block in blocks if (block.bay, block.level) == (n, level)]
                inner = [Layer(0, partial(builder.back, n, level))]
                inner += self._goods(rack, here, (eye_u, eye_h))
                outside = max(low - eye_h, eye_h - high, 0.0)
                parts.append((outside + 1e-6, inner))
            parts.sort(key=lambda part: -part[0])
            layers += [layer for _, group in parts for layer in group]
        layers.append(Layer(0, builder.sign))
        return layers

    def _goods(self, rack: Rack, blocks: list[Block], eye: tuple[float, float]) -> list[Layer]:
        """Return the goods of one level of one bay, back to front; number and schedule them."""
        layers = []
        camera, lighting = self._site.camera, self._site.lighting(rack)
        for block in sorted(blocks, key=lambda one: (-_away(one, eye[0]), one.number)):
            numbers = {}
            for item in block.items:
                number = len(self._things) + 1
                self._things[number] = _Thing(block, rack)
                numbers[id(item)] = number
            timeline = Timeline(self.options.seed, block, self.options.cycle_s)
            self._stock.append((timeline, tuple(numbers.values())))
            for item in sorted(
                block.items,
                key=lambda one: (
                    -one.row,
                    -abs(one.spot.at[0] - eye[0]),
                    -abs(one.spot.at[2] - eye[1]),
                ),
            ):
                draw = partial(draw_product, block.product, camera, lighting, item.spot)
                layers.append(Layer(numbers[id(item)], draw))
        return layers

    def _fits(self, spot: Spot, product: Product) -> bool:
        """Whether the split of locations allows a product there, hidden parts included."""
        width, depth, height = (side / 2 for side in product.size)
        corners = np.array(
            [(x, y, z) for x in (-width, width) for y in (-depth, depth) for z in (0, 2 * height)]
        )
        pixels = self._site.camera.project(spot.world(corners))
        low, high = pixels.min(axis=0) - 1.0, pixels.max(axis=0) + 2.0
        box = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        return allows(product.label, self.options.locations, box, self.options.resolution_wh)


def _away(block: Block, eye_u: float) -> float:
    """Return how far to the side of the camera a block is; what carries others comes first."""
    centre = float(np.mean([item.spot.at[0] for item in block.items]))
    return abs(centre - eye_u) + (10.0 if block.product.label == "pallet" else 0.0)
