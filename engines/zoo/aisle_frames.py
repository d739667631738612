"""Pictures of aisles to learn from: drives through a shelf world, or through a real warehouse."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np

from edge.aisles.classifier import shrink
from edge.capture.shelf_world.options import parse_world
from edge.capture.shelf_world.world import ShelfWorld
from engines.errors import ImagesError
from engines.images import IMAGES, VIDEOS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from edge.aisles.classifier import Passport
    from edge.frame import Image

ELSEWHERE = "elsewhere"
"""Pictures of no aisle: cross-aisles, the dock, other racks."""
_SIZE = "&width=640&height=360"
WORLD = f"synthetic://mast?seed=5&aisles=07,08,09{_SIZE}"
"""The building whose aisles the built-in classifier knows: in another size it has other goods."""
_LAP_S = 12 * 7.2
"""Three aisles of four bays, 6 s before each and 1.2 s to the next."""
_MOMENTS = (0.8, 3.0, 5.2, 6.3, 6.9)
"""Seconds after it stopped before a bay: the last two on the way to the next."""
_MOST = 600
"""Frames taken of one video or folder, evenly spaced."""


@dataclass(frozen=True, slots=True)
class Frames:
    """Pictures, uint8 (N, height, width, 3) BGR, and which aisle each is of, int64 (N,).

    The number after the last aisle's is `ELSEWHERE`.
    """

    images: npt.NDArray[np.uint8]
    aisles: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        if len(self.images) != len(self.aisles) or self.images.dtype != np.uint8:
            raise ValueError(
                f"Frames: expected uint8 images and as many aisles, got {self.images.dtype} "
                f"{self.images.shape} and {self.aisles.shape}"
            )


def drawn(passport: Passport, laps: range, seeds: range, style: str) -> Frames:
    """Return laps of `WORLD` (each lap finds other stock), and buildings that are not it."""
    return _together(passport, chain(_laps(laps), _other_buildings(seeds, style)))


def recorded(passport: Passport, lap: Path) -> Frames:
    """Return one recorded lap: in the folder `lap` a folder or a video per aisle, named after it.

    Raises `ImagesError` where one of the passport's aisles is missing or cannot be read.
    """
    names = (*passport.aisles, ELSEWHERE)
    frames = _together(passport, ((n, image) for n in names for image in _recorded(lap, n)))
    missing = {name for number, name in enumerate(names[:-1]) if number not in frames.aisles}
    if missing:
        raise ImagesError(
            f"lap {lap}: no pictures of {', '.join(sorted(missing))}",
            "put a folder of photos or a video there for each aisle, named after it",
        )
    return frames


def aisles_of(lap: Path) -> tuple[str, ...]:
    """Return the aisles that a recorded lap has folders or videos of, in order."""
    if not lap.is_dir():
        raise ImagesError(f"lap {lap}: no such folder", "give the folder of one drive")
    names = {e.stem for e in lap.iterdir() if e.is_dir() or e.suffix.lower() in VIDEOS}
    aisles = tuple(sorted(names - {ELSEWHERE}))
    if not aisles:
        raise ImagesError(
            f"lap {lap}: expected a folder of photos or a video for each aisle, found none",
            "name each after its aisle: 07/ or 07.mp4",
        )
    return aisles


def _together(passport: Passport, found: Iterable[tuple[str, Image]]) -> Frames:
    names = (*passport.aisles, ELSEWHERE)
    images, aisles = [], []
    for name, image in found:
        images.append(shrink(image, passport))
        aisles.append(names.index(name))
    empty = np.empty((0, passport.height, passport.width, 3), np.uint8)
    return Frames(np.stack(images) if images else empty, np.array(aisles, np.int64))


def _laps(laps: range) -> Iterator[tuple[str, Image]]:
    world = ShelfWorld(parse_world(WORLD))
    for lap in laps:
        for stop in range(12):
            for moment in _MOMENTS:
                time_s = lap * _LAP_S + stop * 7.2 + moment
                aisle = world.aisle_at(time_s)
                if aisle is not None:
                    yield aisle, world.frame(time_s)[0]


def _other_buildings(seeds: range, style: str) -> Iterator[tuple[str, Image]]:
    for seed in seeds:
        view = ("mast", "shelf", "mast", "aisle")[seed % 4]
        world = ShelfWorld(parse_world(f"synthetic://{view}?seed={seed}&style={style}{_SIZE}"))
        for stop in (0, 2, 5):
            yield ELSEWHERE, world.frame(stop * 7.2 + 3.0)[0]


def _recorded(lap: Path, name: str) -> Iterator[Image]:
    import cv2

    photos = [p for p in sorted((lap / name).glob("*")) if p.suffix.lower() in IMAGES]
    for path in photos[:: _every(len(photos))]:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            raise ImagesError(f"{path}: not an image that OpenCV can read", "remove it")
        yield np.asarray(image, np.uint8)
    for path in sorted(lap.iterdir()):
        if path.stem == name and path.suffix.lower() in VIDEOS:
            yield from _video(path)


def _every(count: int) -> int:
    """Return the step at which at most `_MOST` of `count` are taken; a video may not know it."""
    return max(1, -(-count // _MOST))


def _video(path: Path) -> Iterator[Image]:
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        every = _every(int(video.get(cv2.CAP_PROP_FRAME_COUNT)))
        number = 0
        while video.grab():
            if number % every == 0:
                read, image = video.retrieve()
                if read:
                    yield np.asarray(image, np.uint8)
            number += 1
    finally:
        video.release()
    if not number:
        raise ImagesError(f"{path}: not a video that OpenCV can decode", "convert it with ffmpeg")
