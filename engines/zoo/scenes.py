"""Frames of the shelf world, drawn once and kept: what the built-in detectors learn from.

A folder holds `frames.npy`, uint8 (N, 360, 640, 3) BGR, `annotations.json`, COCO, and, once it is
complete, `scenes.json`: what was asked for. The same arguments give the same folder: building `b`
is seed `first_seed + b`, and nothing else is random.
"""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from edge.capture.shelf_world.annotations import coco
from edge.capture.shelf_world.options import View, WorldOptions
from edge.capture.shelf_world.splits import Locations, Split
from edge.capture.shelf_world.world import ShelfWorld
from engines.errors import ImagesError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.capture.shelf_world.annotations import Placed
    from edge.frame import Image

FRAME_WH = (640, 360)
FRAMES, ANNOTATIONS, DRAWN = "frames.npy", "annotations.json", "scenes.json"
_WALKS = ("person", "cart")
_VISIT_S = 150.0
"""Moments are taken from the first minutes of a building: stock is taken and refilled in them."""
_PATIENCE = 5
"""Looks, 3 s apart, that a frame waits for somebody to walk by; every second frame does."""
_LARGE_OF = 8
"""Every so manieth building is drawn twice as large and scaled down, as large cameras are."""
_VIEWS = ("shelf", "shelf", "shelf", "mast", "shelf", "shelf", "aisle", "shelf")


@dataclass(frozen=True, slots=True)
class Scenes:
    """Which buildings to draw, and how often to look at each."""

    first_seed: int
    buildings: int
    per_building: int
    style: Split
    locations: Locations = Locations.ALL
    views: tuple[str, ...] = _VIEWS
    """Taken in turn, a building each."""

    def __post_init__(self) -> None:
        if min(self.buildings, self.per_building) < 1 or self.first_seed < 0:
            raise ValueError(f"Scenes: expected counts from 1 and a seed from 0, got {self}")


TRAIN = (
    *(Scenes(1_000_000 + part * 80, 80, 6, Split.TRAIN) for part in range(8)),
    Scenes(1_000_640, 80, 6, Split.TRAIN, views=("aisle",)),
    Scenes(1_010_000, 120, 4, Split.TRAIN, views=("shelf",)),
    Scenes(1_010_200, 120, 4, Split.TRAIN, views=("shelf",)),
    Scenes(1_010_600, 120, 4, Split.TRAIN, views=("aisle",)),
    Scenes(1_010_400, 120, 4, Split.TRAIN, views=("shelf",)),
    Scenes(1_011_000, 60, 4, Split.TRAIN, views=("mast", "aisle")),
)
"""In parts; aisles beyond their turn, as the view down an aisle is the hardest."""
HELD_OUT = Scenes(5_000_000, 64, 4, Split.HELD_OUT)
"""Not from 2,000,000: the built-in weights have been trained on some of those, by mistake."""


def views(scenes: Scenes) -> tuple[str, ...]:
    """Return the view of each frame that `draw` writes."""
    count = scenes.buildings * scenes.per_building
    return tuple(
        scenes.views[frame // scenes.per_building % len(scenes.views)] for frame in range(count)
    )


def draw(scenes: Scenes, folder: Path, workers: int, progress: Callable[[int, int], None]) -> None:
    """Write the folder, unless these very scenes are in it; what was left unfinished begins anew.

    Raises `ImagesError` where the folder has other scenes than these: what was drawn for another
    purpose must be neither learned from nor judged on by mistake.
    """
    if _is_drawn(scenes, folder):
        return
    folder.mkdir(parents=True, exist_ok=True)
    count = scenes.buildings * scenes.per_building
    shape = (count, FRAME_WH[1], FRAME_WH[0], 3)
    kept = np.lib.format.open_memmap(folder / FRAMES, "w+", np.uint8, shape)
    truths: list[tuple[str, tuple[int, int], list[Placed]]] = []
    # Not forked: what OpenCV's threads hold in this process they would hold for ever in theirs.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for frames in pool.map(partial(_building, scenes), range(scenes.buildings)):
            for image, things in frames:
                kept[len(truths)] = image
                truths.append((f"{len(truths):06}", FRAME_WH, things))
            progress(len(truths), count)
    kept.flush()
    (folder / ANNOTATIONS).write_text(json.dumps(coco(truths)))
    (folder / DRAWN).write_text(_described(scenes))


def _is_drawn(scenes: Scenes, folder: Path) -> bool:
    try:
        there = (folder / DRAWN).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    if there != _described(scenes):
        raise ImagesError(
            f"frames in {folder}: expected {_described(scenes)}, found {there}",
            "remove the folder, or give another one",
        )
    return True


def _described(scenes: Scenes) -> str:
    return json.dumps(asdict(scenes))


def _building(scenes: Scenes, number: int) -> list[tuple[Image, list[Placed]]]:
    import cv2

    cv2.setNumThreads(1)
    chance = np.random.default_rng([scenes.first_seed, number])
    view = View(scenes.views[number % len(scenes.views)])
    grown = 2 if number % _LARGE_OF == 0 else 1
    aisles = ("07", "08")[: 1 + int(chance.random() < 0.6)]  # noqa: PLR2004 - mostly two
    world = ShelfWorld(
        WorldOptions(
            view=view,
            seed=scenes.first_seed + number,
            resolution_wh=(FRAME_WH[0] * grown, FRAME_WH[1] * grown),
            aisles=aisles,
            style=scenes.style,
            locations=scenes.locations,
            markers=bool(chance.random() < 0.25),  # noqa: PLR2004 - some
        )
    )
    moments = np.sort(chance.uniform(0, _VISIT_S, scenes.per_building))
    looks = [_look(world, float(at), patient=bool(i % 2)) for i, at in enumerate(moments)]
    return [(_shrunk(image), [_halved(t, grown) for t in things]) for image, things in looks]


def _look(world: ShelfWorld, at: float, *, patient: bool) -> tuple[Image, list[Placed]]:
    image, things = world.frame(at)
    for step in range(1, _PATIENCE if patient and world.options.view is not View.MAST else 1):
        if any(thing.label in _WALKS for thing in things):
            break
        image, things = world.frame(at + 3.0 * step)
    return image, things


def _shrunk(image: Image) -> Image:
    import cv2

    if (image.shape[1], image.shape[0]) == FRAME_WH:
        return image
    return np.asarray(cv2.resize(image, FRAME_WH, interpolation=cv2.INTER_AREA), np.uint8)


def _halved(thing: Placed, grown: int) -> Placed:
    left, top, right, bottom = thing.xyxy
    box = (left // grown, top // grown, -(-right // grown), -(-bottom // grown))
    return replace(thing, xyxy=box)
