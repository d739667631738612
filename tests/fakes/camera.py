"""A source for tests, below the seam `edge.capture.reader.Reader`: it does what its script says."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from edge.capture.reader import Reader
from edge.errors import CaptureError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edge.capture.source import Source
    from edge.frame import Image

INTERVAL_S = 0.1
"""Media time between two of its pictures."""


def picture(seed: int = 0) -> Image:
    """Return a picture in which a camera sees: a random chequerboard, 96 x 64 pixels."""
    cells = np.random.default_rng(seed).integers(40, 220, (16, 24, 1), np.uint8)
    return np.ascontiguousarray(np.repeat(cells.repeat(4, 0).repeat(4, 1), 3, 2))


def pictures() -> Iterator[Image]:
    """Give pictures without end, each different."""
    seed = 0
    while True:
        yield picture(seed)
        seed += 1


class FakeReader(Reader):
    """Plays one opening: a picture is grabbed, an exception raised, an event waited for."""

    def __init__(self, steps: Iterable[object]) -> None:
        self._steps = iter(steps)
        self._image: Image | None = None
        self._grabbed = 0
        self.closed = False

    def grab(self) -> float:
        for step in self._steps:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, threading.Event):
                step.wait(30)
                continue
            assert isinstance(step, np.ndarray)
            self._image = step
            self._grabbed += 1
            return (self._grabbed - 1) * INTERVAL_S
        raise CaptureError("fake: the stream broke off", "nothing to be done")

    def retrieve(self) -> Image:
        assert self._image is not None
        return self._image

    def close(self) -> None:
        self.closed = True


class FakeOpener:
    """Gives one `FakeReader` per opening; an opening that is an exception fails."""

    def __init__(self, *openings: Exception | Iterable[object]) -> None:
        self._openings = iter(openings)
        self.readers: list[FakeReader] = []
        self.attempts = 0

    def __call__(self, source: Source) -> Reader:
        self.attempts += 1
        opening = next(self._openings, CaptureError("fake: gone", "nothing to be done"))
        if isinstance(opening, Exception):
            raise opening
        self.readers.append(FakeReader(opening))
        return self.readers[-1]
