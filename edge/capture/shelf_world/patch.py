"""One drawn thing, ready to be laid over a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge.frame import Image

Identities = npt.NDArray[np.uint16]
"""uint16 (H, W): which object a pixel shows; 0 is none."""

Region = tuple[int, int, int, int]
"""Left, top, right, bottom in whole pixels, right and bottom excluded."""


def common(one: Region, other: Region) -> Region | None:
    """Return the part two regions share, or None."""
    left, top = max(one[0], other[0]), max(one[1], other[1])
    right, bottom = min(one[2], other[2]), min(one[3], other[3])
    return (left, top, right, bottom) if left < right and top < bottom else None


@dataclass(frozen=True)
class Patch:
    """A piece of picture with soft edges and a soft shadow around it.

    `region` is where it lies, and may reach out of the picture. `colour` uint8 (h, w, 3) BGR is
    what it adds, `keep` uint8 (h, w) how much (of 255) of what is behind it stays, `solid` bool
    (h, w) where it is the thing itself and not its shadow.
    """

    region: Region
    colour: Image
    keep: npt.NDArray[np.uint8]
    solid: npt.NDArray[np.bool_]
    whole: int
    """Pixels of the thing itself, were nothing before it and the picture endless."""

    def paint(self, image: Image, identities: Identities, identity: int, within: Region) -> None:
        """Lay it over a picture and name its pixels; only `within`, a part of the picture."""
        import cv2

        shared = common(self.region, within)
        if shared is None:
            return
        left, top, right, bottom = shared
        x, y = self.region[:2]
        own = np.s_[top - y : bottom - y, left - x : right - x]
        there = np.s_[top:bottom, left:right]
        behind = image[there]
        keep = cv2.cvtColor(self.keep[own], cv2.COLOR_GRAY2BGR)
        kept = cv2.multiply(behind, keep, scale=1 / 255)
        image[there] = cv2.add(kept, self.colour[own])
        np.copyto(identities[there], np.uint16(identity), where=self.solid[own])
