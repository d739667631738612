"""What stands where, and when: goods are taken from the shelves and filled up again."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .painter import Spot
from .rack import POST_M
from .splits import LABELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .products import Product
    from .rack import Rack
    from .styles import Picker

GOODS = LABELS[:6]

_TAKEN_BY = 0.80
"""Part of a cycle in which goods are taken; they are filled up in the rest of it."""
_WEIGHTS = {"box": 3.0, "bottle": 2.4, "can": 2.4, "carton": 2.4, "tote": 2.0}
_KINDS_EACH = 6
_HEADROOM_M = 0.03


@dataclass(frozen=True)
class Item:
    """One place for one thing of a block's product: `row` from the front, `layer` from below."""

    spot: Spot
    row: int
    layer: int


@dataclass(frozen=True)
class Block:
    """Places for one product side by side on one level; `items` in the order they are filled.

    `lasting` goods are never taken: others stand on them.
    """

    number: int
    bay: int
    level: int
    product: Product
    items: tuple[Item, ...]
    lasting: bool = False


class Timeline:
    """How many places of a block are filled at a time, for ever, from a seed."""

    def __init__(self, seed: int, block: Block, cycle_s: float) -> None:
        self._seed = [seed, 11, block.number]
        chance = np.random.default_rng(self._seed)
        self._full, self._lasting = len(block.items), block.lasting
        self._period = cycle_s * float(chance.uniform(0.7, 1.5))
        self._phase = self._period * float(chance.random())
        self._cycle = -1
        self._taken: list[float] = []
        self._filled: list[float] = []

    def count(self, time_s: float) -> int:
        """Return the filled places at a time, seconds from the start of the world."""
        if self._lasting:
            return self._full
        cycle, since = divmod(time_s + self._phase, self._period)
        if int(cycle) != self._cycle:
            self._plan(int(cycle))
        return self._full - bisect_right(self._taken, since) + bisect_right(self._filled, since)

    def _plan(self, cycle: int) -> None:
        chance = np.random.default_rng([*self._seed, cycle])
        taken = round(self._full * float(chance.uniform(0.1, 0.9)))
        turn = self._period * _TAKEN_BY
        self._taken = sorted(chance.uniform(0.0, turn, taken).tolist())
        self._filled = sorted(chance.uniform(turn, self._period, taken).tolist())
        self._cycle = cycle


class Stocker:
    """Fills racks with blocks of goods, by chance; `fits` says whether a thing may stand there."""

    def __init__(
        self,
        picker: Picker,
        make: Callable[[str], Product],
        fits: Callable[[Spot, Product], bool],
    ) -> None:
        self._picker, self._make, self._fits = picker, make, fits
        self._kinds: dict[str, list[Product]] = {name: [] for name in GOODS}
        self._count = 0

    def fill(self, rack: Rack) -> list[Block]:
        """Return the blocks of a rack."""
        blocks: list[Block] = []
        for bay in range(rack.bays):
            for level in range(len(rack.levels)):
                if level == 0 and self._picker.between(0, 1) < 0.75:  # noqa: PLR2004 - parts
                    blocks += self._pallets(rack, bay)
                else:
                    blocks += self._level(rack, bay, level)
        return blocks

    def _product(self, name: str) -> Product:
        kinds = self._kinds[name]
        if len(kinds) < _KINDS_EACH:
            kinds.append(self._make(name))
            return kinds[-1]
        return kinds[int(self._picker.chance.integers(len(kinds)))]

    def _level(self, rack: Rack, bay: int, level: int) -> Iterator[Block]:
        end = (bay + 1) * rack.bay_m - POST_M / 2 - 0.01
        left = bay * rack.bay_m + POST_M / 2 + self._picker.between(0.01, 0.06)
        while end - left > 0.12:  # noqa: PLR2004 - metres left for anything at all
            product = self._product(self._label())
            width = product.size[0] * 1.03 + 0.008
            columns = min(int((end - left) / width), self._columns(product))
            if columns < 1:
                left += 0.1
                continue
            block = self._block(rack, (bay, level), product, (left, columns, rack.levels[level]))
            if block.items:
                yield block
            left += columns * width + self._picker.between(0.01, 0.07)

    def _label(self) -> str:
        names = list(_WEIGHTS)
        weights = np.array([_WEIGHTS[name] for name in names])
        return names[int(self._picker.chance.choice(len(names), p=weights / weights.sum()))]

    def _columns(self, product: Product) -> int:
        most = 3 if product.label in {"box", "tote"} else 6
        return int(self._picker.chance.integers(1, most + 1))

    def _block(
        self,
        rack: Rack,
        cell: tuple[int, int],
        product: Product,
        place: tuple[float, int, float],
    ) -> Block:
        level = cell[1]
        left, columns, base = place
        width, depth, height = product.size
        room = rack.ceiling(level) - base - _HEADROOM_M
        layers = max(0, min(int(room / height), self._layers(product)))
        rows = max(1, min(3, int((rack.depth - 0.06) / (depth * 1.06))))
        chance = self._picker.chance
        inset = 0.02 + depth / 2 + self._picker.between(0.0, 0.03)
        items = []
        for row in range(rows):
            for column in range(columns):
                turn = float(chance.normal(0, 0.03))
                u = left + (column + 0.5) * (width * 1.03 + 0.008) + float(chance.normal(0, 0.002))
                d = inset + row * depth * 1.06 + abs(float(chance.normal(0, 0.006)))
                for layer in range(layers):
                    at = (u, d, base + layer * height)
                    spot = Spot(rack, at, turn, rack.ceiling(level))
                    if not self._fits(spot, product):
                        break
                    items.append(Item(spot, row, layer))
        return self._numbered(cell, product, items)

    def _layers(self, product: Product) -> int:
        if product.label in {"bottle", "carton", "tote"}:
            return 1
        return int(self._picker.chance.integers(1, 3))

    def _numbered(
        self, cell: tuple[int, int], product: Product, items: list[Item], *, lasting: bool = False
    ) -> Block:
        """Return the block, filled from the front or from the back, never in mid-air."""
        back_first = self._picker.between(0, 1) < 0.4  # noqa: PLR2004 - the rest slides forward
        order = {id(item): float(self._picker.chance.random()) for item in items}
        items.sort(
            key=lambda item: (
                -item.row if back_first else item.row,
                item.layer,
                order[id(item)],
            )
        )
        self._count += 1
        return Block(self._count, *cell, product, tuple(items), lasting)

    def _pallets(self, rack: Rack, bay: int) -> Iterator[Block]:
        """Yield a pile of pallets, or one pallet and what stands on it."""
        pallet = self._product("pallet")
        centre = (bay + 0.5) * rack.bay_m
        base, ceiling = rack.levels[0], rack.ceiling(0)
        loaded = self._picker.between(0, 1) < 0.6  # noqa: PLR2004 - the rest are empty
        layers = 1 if loaded else int((ceiling - base - _HEADROOM_M) / pallet.size[2])
        depth = 0.01 + pallet.size[1] / 2
        items = []
        for layer in range(layers):
            turn, u = self._picker.chance.normal(0, (0.012, 0.01))
            at = (centre + float(u), depth + 0.01, base + layer * pallet.size[2])
            spot = Spot(rack, at, float(turn), ceiling)
            if not self._fits(spot, pallet):
                break
            items.append(Item(spot, 0, layer))
        if items:
            base += pallet.size[2]
            yield self._numbered((bay, 0), pallet, items, lasting=loaded)
        if loaded:
            load = self._product("box" if self._picker.between(0, 1) < 0.7 else "tote")  # noqa: PLR2004
            width = load.size[0] * 1.03 + 0.008
            columns = max(1, int(pallet.size[0] / width))
            left = centre - columns * width / 2
            block = self._block(rack, (bay, 0), load, (left, columns, base))
            if block.items:
                yield block
