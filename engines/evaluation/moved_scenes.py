"""The same scene elsewhere: moved, zoomed, dimmed, blurred, compressed, and what is found again."""

from __future__ import annotations

from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detections import Detections
from edge.detector.agreement import match
from edge.detector.bundle import TENSORRT_GRAPH
from edge.detector.golden import THRESHOLD_SLACK
from edge.detector.onnxruntime import OnnxRuntime
from engines.evaluation.accuracy import CONFIDENT, THRESHOLD, detections
from engines.evaluation.places import Count, Places
from engines.evaluation.sweep import cells_of, picture_in, variants, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from edge.detector.runtime import RawDetections
    from edge.frame import Image
    from engines.evaluation.held_out import HeldOut
    from engines.evaluation.places import Cell
    from engines.evaluation.sweep import Region, Variant

    Progress = Callable[[str, int, int], None]

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


class MovedScenes:
    """The float model's detections in `held_out`, to be followed by one INT8 graph after the other.

    What `graph`, the float one, finds in the changed frames is found out once. `pad` is the grey of
    the letterbox's bars.
    """

    def __init__(self, graph: onnx.ModelProto, held_out: HeldOut, pad: int, told: Progress) -> None:
        self.held_out, self.pad = held_out, pad
        self._graph = graph
        self._told = told
        self._objects, self._score = _objects(held_out.frames, held_out.raw, pad)
        shown = [index for index, found in enumerate(self._objects) if len(found)]
        self._chosen = [shown[i] for i in _spread(len(shown), _FRAMES)]
        self._by_float: dict[int, list[set[int]]] = {}

    def followed(self, part: str, graph: onnx.ModelProto) -> Followed:
        """Return what a graph finds again, of `_FRAMES` frames that show whole objects."""
        result = Followed()
        chosen = self._chosen[: _FRAMES_OF.get(part, _FRAMES)]
        with ExitStack() as opened:
            by_float, by_int8 = (self._runtime(opened, x) for x in (self._graph, graph))
            for turn, index in enumerate(chosen):
                if result.places.fewest >= _ENOUGH:
                    break
                self._told(_TOLD, turn, len(chosen))
                result.frames += 1
                picture, changed = self._changed(turn, index)
                if index not in self._by_float:
                    self._by_float[index] = _follow(by_float, changed, self._score)
                again = _follow(by_int8, changed, self._score)
                for (variant, moved), one, other in zip(
                    changed, self._by_float[index], again, strict=True
                ):
                    _note(result, variant, cells_of(moved.xyxy, picture), one, other)
        return result

    def _runtime(self, opened: ExitStack, graph: onnx.ModelProto) -> OnnxRuntime:
        shape = self.held_out.frames[0].shape
        return opened.enter_context(OnnxRuntime(graph.SerializeToString(), shape))

    def _changed(self, turn: int, index: int) -> tuple[Region, list[tuple[Variant, Detections]]]:
        """Return where the picture lies, and its variants with the objects still whole in each."""
        frame, objects = self.held_out.frames[index], self._objects[index]
        picture = picture_in(frame, self.pad)
        return picture, [
            (variant, _still_whole(objects, variant, picture))
            for variant in variants(frame, objects.xyxy, picture, turn, self.pad)
        ]


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
        found_again(objects, detections(raw, (width, height))[0], score)
        for (_, objects), raw in zip(changed, outputs, strict=True)
    ]


def found_again(objects: Detections, found: Detections, score: float) -> set[int]:
    """Return which objects are among the detections of that score: same label, IoU >= 0.5."""
    return {row for row, _, _ in match(objects, found.where(found.scores >= score))}


def _note(
    followed: Followed, variant: Variant, cells: Sequence[Cell], seen: set[int], again: set[int]
) -> None:
    # What was moved into a cell is named after it; as a change, all moves are one.
    name = "" if variant.kind == "moved" else variant.name
    for index, cell in enumerate(cells):
        count = Count.of(index in seen, index in again)
        followed.changes[variant.kind, name] += count
        if variant.kind in {"moved", "zoomed"}:
            followed.places.add(cell, count)
