"""The ground truth of a frame, and how it is written down as COCO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .splits import LABELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .patch import Identities, Region

MIN_VISIBLE = 0.30
"""Part of a thing that must be seen for it to be in the ground truth."""
MIN_SIDE_PX = 6
"""Shortest side of a box in the ground truth."""


@dataclass(frozen=True, slots=True)
class Placed:
    """One thing that a frame shows.

    `xyxy` in pixels of the frame bounds what is visible of it, right and bottom excluded, never
    outside of the frame; `visible` is how much of it is seen, 0..1. Who walks has no `level` and
    no `bay`. `number` stays the same from frame to frame.
    """

    number: int
    label: str
    xyxy: tuple[int, int, int, int]
    visible: float
    aisle: str
    bay: int | None
    level: int | None

    def __post_init__(self) -> None:
        if self.label not in LABELS:
            raise ValueError(f"Placed.label: expected one of {', '.join(LABELS)}, {self.label!r}")
        left, top, right, bottom = self.xyxy
        if not (0 <= left < right and 0 <= top < bottom):
            raise ValueError(f"Placed.xyxy: expected a box inside the frame, got {self.xyxy}")


def visible_box(identities: Identities, number: int, within: Region) -> tuple[Region, int] | None:
    """Return the box of an object's pixels and their count; `within` is where they can be."""
    left, top = max(within[0], 0), max(within[1], 0)
    shown = identities[top : max(within[3], 0), left : max(within[2], 0)] == number
    rows = np.flatnonzero(shown.any(axis=1))
    if not len(rows):
        return None
    columns = np.flatnonzero(shown.any(axis=0))
    box = (
        left + int(columns[0]),
        top + int(rows[0]),
        left + int(columns[-1]) + 1,
        top + int(rows[-1]) + 1,
    )
    return box, int(np.count_nonzero(shown))


def coco(
    frames: Iterable[tuple[str, tuple[int, int], Iterable[Placed]]],
) -> dict[str, list[dict[str, Any]]]:
    """Return a COCO dictionary of frames, each a file name, its (width, height) and its things.

    Category ids count from 1 in the order of `LABELS`; `visible`, `aisle`, `bay` and `level` are
    kept beside COCO's own keys.
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for name, (width, height), things in frames:
        image = len(images) + 1
        images.append({"id": image, "file_name": name, "width": width, "height": height})
        annotations += [
            _annotation(thing, image, len(annotations) + count)
            for count, thing in enumerate(things, start=1)
        ]
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(thing: Placed, image: int, number: int) -> dict[str, Any]:
    left, top, right, bottom = thing.xyxy
    return {
        "id": number,
        "image_id": image,
        "category_id": LABELS.index(thing.label) + 1,
        "bbox": [left, top, right - left, bottom - top],
        "area": (right - left) * (bottom - top),
        "iscrowd": 0,
        "visible": round(thing.visible, 3),
        "aisle": thing.aisle,
        "bay": thing.bay,
        "level": thing.level,
    }
