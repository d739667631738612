"""Whether a can of beans is found on the left, on the right, on the top shelf and the bottom one.

With annotations: which share is found per cell of the picture and per shelf height. Without: the
same scene is moved, zoomed, dimmed, blurred and compressed, and the detections are followed. INT8
is held to float object by object, so that what float does not find either is nobody's loss.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detections import Detections
from edge.detector.agreement import match
from edge.detector.bundle import TENSORRT_GRAPH
from edge.detector.golden import FLOAT, THRESHOLD_SLACK
from edge.detector.onnxruntime import OnnxRuntime
from engines.evaluation.accuracy import CONFIDENT, THRESHOLD, detections
from engines.evaluation.budget import Check
from engines.evaluation.places import Count, Places
from engines.evaluation.sweep import GRID, cells_of, picture_in, variants, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from edge.detector.runtime import RawDetections
    from edge.frame import Image
    from engines.evaluation.held_out import HeldOut
    from engines.evaluation.places import Cell, WorstPlace
    from engines.evaluation.sweep import Region, Variant

    Progress = Callable[[str, int, int], None]

LARGEST_DROP = 0.05
"""Share of the objects in one cell that INT8 may certainly lose against float."""
_FRAMES = 12
_FRAMES_OF = {TENSORRT_GRAPH: 6}
"""ONNX Runtime runs TensorRT's encoding slowly."""
_ENOUGH = 40
"""Objects in every cell after which no further frame is moved."""
_FEWEST_CONFIDENT = 12
_TOLD = "moving the scene"


@dataclass
class Followed:
    """What one graph finds again of the float model's detections, in frames that were changed."""

    frames: int = 0
    places: Places = field(default_factory=Places)
    """Where the objects stand after the move; of moved and zoomed frames."""
    changes: dict[tuple[str, str], Count] = field(default_factory=lambda: defaultdict(Count))
    """By kind of change and its size, in the order of the sweep."""

    def for_passport(self) -> dict[str, Any]:
        """Return plain values: shares per kind of change, and the cells."""
        kinds: dict[str, Count] = defaultdict(Count)
        for (kind, _), count in self.changes.items():
            kinds[kind] += count
        shares = {
            kind: {
                "objects": count.objects,
                "float": round(count.by_float / count.objects, 4),
                "int8": round(count.by_int8 / count.objects, 4),
            }
            for kind, count in kinds.items()
            if count.objects
        }
        return {"frames": self.frames, "changes": shares, "cells": self.places.for_passport()}


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
    graphs: Mapping[str, onnx.ModelProto],
    held_out: HeldOut,
    raw: Mapping[str, RawDetections],
    pad: int,
    told: Progress,
) -> Location:
    """Follow float's detections through changed frames and, with annotations, count by place.

    `graphs` has `float` and the INT8 graphs by part, `raw` what the latter give on the held-out
    frames; `pad` is the grey of the letterbox's bars.
    """
    followed = shift_consistency(graphs, held_out.frames, held_out.raw, pad, told)
    if not held_out.annotated[1]:
        return Location(followed, {})
    return Location(
        followed,
        {part: recall_by_place(held_out, seen, pad) for part, seen in raw.items() if part != FLOAT},
    )


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
        seen = _found(objects, by_float, THRESHOLD)
        again = _found(objects, by_int8, THRESHOLD)
        for index, cell in enumerate(cells_of(boxes, picture_in(frame, pad))):
            if not truth.crowd[index]:
                places.add(cell, _count(index in seen, index in again), truth.levels[index])
    return places


def shift_consistency(
    graphs: Mapping[str, onnx.ModelProto],
    frames: Sequence[Image],
    reference: RawDetections,
    pad: int,
    told: Progress,
) -> dict[str, Followed]:
    """Follow float's detections through changed frames; by part, float excepted.

    `graphs` has `float` and the INT8 graphs; `reference` is what float gives on the letterboxed
    `frames`. Of these, `_FRAMES` that show whole objects are changed.
    """
    objects, score = _objects(frames, reference, pad)
    shown = [index for index, found in enumerate(objects) if len(found)]
    chosen = [shown[i] for i in _spread(len(shown), _FRAMES)]
    parts = {part: Followed() for part in graphs if part != FLOAT}
    with ExitStack() as opened:
        runtimes = {
            part: opened.enter_context(OnnxRuntime(graph.SerializeToString(), frames[0].shape))
            for part, graph in graphs.items()
        }
        for turn, index in enumerate(chosen):
            told(_TOLD, turn, len(chosen))
            used = [
                part
                for part, followed in parts.items()
                if turn < _FRAMES_OF.get(part, _FRAMES) and followed.places.fewest < _ENOUGH
            ]
            if not used:
                break
            for part in used:
                parts[part].frames += 1
            picture = picture_in(frames[index], pad)
            changed = [
                (variant, _still_whole(objects[index], variant, picture))
                for variant in variants(frames[index], objects[index].xyxy, picture, turn, pad)
            ]
            seen = _follow(runtimes[FLOAT], changed, score)
            for part in used:
                again = _follow(runtimes[part], changed, score)
                for number, (variant, moved) in enumerate(changed):
                    cells = cells_of(moved.xyxy, picture)
                    _note(parts[part], variant, cells, seen[number], again[number])
    return parts


def _objects(
    frames: Sequence[Image], reference: RawDetections, pad: int
) -> tuple[list[Detections], float]:
    """Return each frame's whole objects, and from which score on one is found again.

    They are float's confident detections, or all where these are few; as in the budget, the score
    may slip, so that what lies at a threshold is no loss.
    """
    size = (frames[0].shape[1], frames[0].shape[0])
    clear = [
        found.where(whole(found.xyxy, picture_in(frame, pad)))
        for frame, found in zip(frames, detections(reference, size), strict=True)
    ]
    confident = [found.where(found.scores >= CONFIDENT) for found in clear]
    if sum(map(len, confident)) >= _FEWEST_CONFIDENT:
        return confident, THRESHOLD
    every = [found.where(found.scores >= THRESHOLD) for found in clear]
    return every, THRESHOLD - THRESHOLD_SLACK


def _spread(count: int, wanted: int) -> list[int]:
    places = np.linspace(0, count - 1, min(count, wanted)).round().astype(int)
    return [int(place) for place in places]


def _still_whole(objects: Detections, variant: Variant, picture: Region) -> Detections:
    boxes = variant.to_here(objects.xyxy)
    moved = Detections(boxes, objects.scores, objects.labels)
    return moved.where(whole(boxes, picture))


def _follow(
    runtime: OnnxRuntime, changed: Sequence[tuple[Variant, Detections]], score: float
) -> list[set[int]]:
    """Return, for each changed frame, which of its objects are found in it."""
    height, width, _ = changed[0][0].image.shape
    outputs = runtime.infer_each([variant.image for variant, _ in changed])
    return [
        _found(objects, detections(raw, (width, height))[0], score)
        for (_, objects), raw in zip(changed, outputs, strict=True)
    ]


def _found(objects: Detections, found: Detections, score: float) -> set[int]:
    """Return which objects are among the detections of that score: same label, IoU >= 0.5."""
    return {row for row, _, _ in match(objects, found.where(found.scores >= score))}


def _note(
    followed: Followed, variant: Variant, cells: Sequence[Cell], seen: set[int], again: set[int]
) -> None:
    # What was moved into a cell is named after it; as a change, all moves are one.
    name = "" if variant.kind == "moved" else variant.name
    for index, cell in enumerate(cells):
        count = _count(index in seen, index in again)
        followed.changes[variant.kind, name] += count
        if variant.kind in {"moved", "zoomed"}:
            followed.places.add(cell, count)


def _count(seen: bool, again: bool) -> Count:  # noqa: FBT001
    return Count(
        both=int(seen and again),
        lost=int(seen and not again),
        gained=int(again and not seen),
        neither=int(not seen and not again),
    )
