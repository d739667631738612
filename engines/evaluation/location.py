"""Whether a can of beans is found on the left, on the right, on the top shelf and the bottom one.

With annotations: which share is found per cell of the picture and per shelf height. Without: the
same scene is moved, zoomed, dimmed, blurred and compressed, and the detections are followed. INT8
is held to float object by object, so that what float does not find either is nobody's loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detections import Detections
from engines.evaluation.accuracy import THRESHOLD, detections
from engines.evaluation.budget import Check
from engines.evaluation.moved_scenes import found_again
from engines.evaluation.places import Count, Places
from engines.evaluation.sweep import GRID, cells_of, picture_in

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from edge.detector.runtime import RawDetections
    from engines.evaluation.held_out import HeldOut
    from engines.evaluation.moved_scenes import Followed, MovedScenes
    from engines.evaluation.places import WorstPlace

    Progress = Callable[[str, int, int], None]

LARGEST_DROP = 0.05
"""Share of the objects in one cell that INT8 may certainly lose against float."""


@dataclass(frozen=True, slots=True)
class Location:
    """How well each INT8 graph finds things wherever they stand; by part."""

    followed: Mapping[str, Followed]
    """Through changed frames: the same scene elsewhere."""
    annotated: Mapping[str, Places]
    """Annotated objects; empty without annotations."""

    def checks(self) -> tuple[Check, ...]:
        """Hold the worst cells to `LARGEST_DROP`; a graph of which no cell can be judged has none.

        What is held to the limit is what the drop is at least: chance refuses nothing.
        """
        tables = [("moved", part, seen.places) for part, seen in self.followed.items()]
        tables += [("annotated", part, places) for part, places in self.annotated.items()]
        return tuple(
            _check(part, what, places.worst) for what, part, places in tables if places.worst
        )

    def for_passport(self) -> dict[str, Any]:
        """Return plain values by part."""
        told = {part: seen.for_passport() for part, seen in self.followed.items()}
        for part, places in self.annotated.items():
            told[part]["annotated"] = places.for_passport()
        return told


def _check(part: str, what: str, worst: WorstPlace) -> Check:
    found = max(0.0, worst.drop_at_least)
    return Check(
        part,
        f"share of {what} objects certainly lost in the worst cell ({worst.place} of {GRID})",
        found,
        LARGEST_DROP,
        held=found <= LARGEST_DROP,
        rests_on=worst.count.objects,
        use=found / LARGEST_DROP,
    )


def evaluate(
    scenes: MovedScenes, part: str, graph: onnx.ModelProto, raw: RawDetections
) -> Location:
    """Follow float's detections through changed frames and, with annotations, count by place.

    `raw` is what the INT8 graph gives on the held-out frames.
    """
    annotated = {}
    if scenes.held_out.annotated[1]:
        annotated[part] = recall_by_place(scenes.held_out, raw, scenes.pad)
    return Location({part: scenes.followed(part, graph)}, annotated)


def together(places: Sequence[Location]) -> Location:
    """Return what was found of one graph each as one."""
    return Location(
        {part: seen for where in places for part, seen in where.followed.items()},
        {part: seen for where in places for part, seen in where.annotated.items()},
    )


def recall_by_place(held_out: HeldOut, found: RawDetections, pad: int) -> Places:
    """Count the annotated objects by where they stand and by whether float and INT8 find them.

    `found` is what INT8 gives on the held-out frames. Crowds are no objects.
    """
    places = Places()
    frames = held_out.frames
    size = (frames[0].shape[1], frames[0].shape[0])
    both = zip(detections(held_out.raw, size), detections(found, size), strict=True)
    for frame, truth, (by_float, by_int8) in zip(frames, held_out.truths, both, strict=True):
        if truth is None:
            continue
        boxes = truth.inside
        objects = Detections(boxes, np.ones(len(boxes), np.float32), truth.labels)
        seen = found_again(objects, by_float, THRESHOLD)
        again = found_again(objects, by_int8, THRESHOLD)
        for index, cell in enumerate(cells_of(boxes, picture_in(frame, pad))):
            if not truth.crowd[index]:
                places.add(cell, Count.of(index in seen, index in again), truth.levels[index])
    return places
