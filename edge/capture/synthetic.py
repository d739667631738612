"""The shelf world as a source: a camera for those who have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.capture.opencv import import_cv2
from edge.capture.reader import Reader
from edge.capture.shelf_world.options import parse_world
from edge.capture.shelf_world.world import ShelfWorld

if TYPE_CHECKING:
    from edge.capture.source import Source
    from edge.frame import Image


class SyntheticReader(Reader):
    """Draws the world as it is at each frame's time; a frame that nobody looks at costs nothing."""

    def __init__(self, source: Source) -> None:
        import_cv2()
        options = parse_world(source.target)
        self._world = ShelfWorld(options)
        self._period_s = 1 / options.fps
        self._number = -1

    def grab(self) -> float:
        """Go to the next frame's time."""
        self._number += 1
        return self._number * self._period_s

    def retrieve(self) -> Image:
        """Draw the world as it is at that time."""
        image, _ = self._world.frame(self._number * self._period_s)
        return image

    def close(self) -> None:
        """Nothing is held open."""
