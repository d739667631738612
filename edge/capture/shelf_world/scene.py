"""Everything one camera sees that stands still between two changes of stock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from .annotations import visible_box
from .patch import common

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.frame import Image

    from .patch import Identities, Patch, Region

_UNDRAWN = object()
_MANY = 12
"""Changes at once from which drawing everything again is quicker."""
_FOCUS_PX = 3
"""How far the lens spreads a pixel: what a redrawn region needs around it."""


@dataclass
class Layer:
    """One thing in the order of drawing; `number` 0 is not an object."""

    number: int
    draw: Callable[[], Patch | None]
    cache: object = _UNDRAWN

    @property
    def patch(self) -> Patch | None:
        """What it looks like, drawn when it is first needed."""
        if self.cache is _UNDRAWN:
            self.cache = self.draw()
        return self.cache  # type: ignore[return-value]


@dataclass(frozen=True)
class Seen:
    """An object in the still picture: its visible box, visible and whole size in pixels."""

    number: int
    box: Region
    pixels: int
    whole: int
    reach: Region
    """Where its pixels can be."""


def look(identities: Identities, number: int, reach: Region, whole: int) -> Seen | None:
    """Return what is visible of an object whose pixels lie within `reach`, None if nothing."""
    found = visible_box(identities, number, reach)
    return None if found is None else Seen(number, *found, whole, reach)


class Scene:
    """A still picture of layers, of which some are present; only what changes is drawn again.

    `image` uint8 (H, W, 3) and `identities` uint16 (H, W) hold it, `seen` the objects in it. The
    picture depends on which layers are present only, never on what was shown before.
    """

    def __init__(
        self, layers: Sequence[Layer], resolution_wh: tuple[int, int], focus: float, corners: float
    ) -> None:
        width, height = resolution_wh
        self._layers = layers
        self.region: Region = (0, 0, width, height)
        self._sharp = np.zeros((height, width, 3), np.uint8)
        self._focus = focus
        self._falloff = _falloff(resolution_wh, corners)
        self._present: frozenset[int] | None = None
        self.image: Image = np.zeros((height, width, 3), np.uint8)
        self.identities: Identities = np.zeros((height, width), np.uint16)
        self.seen: dict[int, Seen] = {}

    def show(self, present: frozenset[int]) -> None:
        """Bring the picture to the state in which the objects `present` stand there."""
        if present == self._present:
            return
        changed = None if self._present is None else present ^ self._present
        self._present = present
        if changed is None or len(changed) > _MANY:
            self._redraw(self.region)
            return
        for layer in self._layers:
            if layer.number in changed and layer.patch is not None:
                region = common(layer.patch.region, self.region)
                if region is not None:
                    self._redraw(region)

    def _redraw(self, region: Region) -> None:
        present = self._present or frozenset()
        self.identities[region[1] : region[3], region[0] : region[2]] = 0
        touched = []
        for layer in self._layers:
            if layer.number and layer.number not in present:
                self.seen.pop(layer.number, None)
                continue
            patch = layer.patch
            if patch is None or common(patch.region, region) is None:
                continue
            patch.paint(self._sharp, self.identities, layer.number, region)
            if layer.number:
                touched.append((layer.number, patch))
        self._expose(region)
        for number, patch in touched:
            self.seen.pop(number, None)
            found = look(self.identities, number, patch.region, patch.whole)
            if found is not None:
                self.seen[number] = found

    def _expose(self, region: Region) -> None:
        """Take a region of the sharp picture through the lens: focus and falloff."""
        import cv2

        grown = (region[0] - _FOCUS_PX, region[1] - _FOCUS_PX, region[2] + _FOCUS_PX,
                 region[3] + _FOCUS_PX)  # fmt: skip
        target = common(grown, self.region)
        source = target and common(
            (target[0] - _FOCUS_PX, target[1] - _FOCUS_PX, target[2] + _FOCUS_PX,
             target[3] + _FOCUS_PX), self.region,
        )  # fmt: skip
        if target is None or source is None:
            return
        sharp = self._sharp[source[1] : source[3], source[0] : source[2]]
        if self._focus > 0:
            side = 2 * _FOCUS_PX + 1
            sharp = np.asarray(cv2.GaussianBlur(sharp, (side, side), self._focus), np.uint8)
        x, y = target[0] - source[0], target[1] - source[1]
        inner = sharp[y : y + target[3] - target[1], x : x + target[2] - target[0]]
        there = np.s_[target[1] : target[3], target[0] : target[2]]
        self.image[there] = cv2.multiply(inner, self._falloff[there], scale=1 / 255)


@lru_cache(maxsize=2)
def _falloff(resolution_wh: tuple[int, int], corners: float) -> Image:
    """Return a lens's falloff, 255 in the middle, `corners` of it less in the corners."""
    width, height = resolution_wh
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    share = 1 - np.float32(corners) * (x**2 + y**2) / 2
    return np.repeat(np.round(255 * share).astype(np.uint8)[..., None], 3, axis=2)
