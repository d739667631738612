"""Whether a can of beans is found on the left, on the right, on the top shelf and the bottom one.

With annotations: which share is found per cell of the picture and per shelf height. Without: the
same scene is moved, zoomed, dimmed, blurred and compressed, and the detections are followed. INT8
is held to float object by object, so that what float does not find either is nobody's loss.
"""

from __future__ import annotations

import math
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detections import Detections
from edge.detector.agreement import match
from edge.detector.bundle import TENSORRT_GRAPH
from edge.detector.golden import FLOAT
from edge.detector.onnxruntime import OnnxRuntime
from engines.evaluation.accuracy import CONFIDENT, THRESHOLD, detections
from engines.evaluation.sweep import GRID, cells_of, picture_in, variants, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from edge.detector.runtime import RawDetections
    from edge.frame import Image
    from engines.evaluation.annotations import Truth
    from engines.evaluation.sweep import Region, Variant

    Progress = Callable[[str, int, int], None]
    Cell = tuple[int, int]

FEWEST = 10
"""Objects below which a cell is not judged."""
_SURE = 0.95
_FRAMES = 12
_FRAMES_OF = {TENSORRT_GRAPH: 6}
"""ONNX Runtime runs TensorRT's encoding slowly."""
_ENOUGH = 40
"""Objects in every cell after which no further frame is moved."""
_FEWEST_CONFIDENT = 12
_TOLD = "moving the scene"


@dataclass(frozen=True, slots=True)
class Count:
    """Objects, by whether float and one INT8 graph found them."""

    both: int = 0
    lost: int = 0
    """Found by float only."""
    gained: int = 0
    """Found by INT8 only."""
    neither: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(
            self.both + other.both,
            self.lost + other.lost,
            self.gained + other.gained,
            self.neither + other.neither,
        )

    @property
    def objects(self) -> int:
        """How many there are."""
        return self.both + self.lost + self.gained + self.neither

    @property
    def by_float(self) -> int:
        """How many float finds."""
        return self.both + self.lost

    @property
    def by_int8(self) -> int:
        """How many INT8 finds."""
        return self.both + self.gained

    @property
    def drop(self) -> float:
        """Share that float finds minus share that INT8 finds; 0 without objects."""
        return (self.lost - self.gained) / self.objects if self.objects else 0.0

    def drop_at_least(self, sure: float) -> float:
        """Return what the drop is at least, with this probability: a bound below `drop`.

        R. G. Newcombe, Improved confidence intervals for the difference between binomial
        proportions based on paired data, Statistics in Medicine 17 (1998), method 10.
        """
        n = self.objects
        if not n:
            return -1.0
        z = NormalDist().inv_cdf(sure)
        low, _ = wilson(self.by_float, n, z)
        _, high = wilson(self.by_int8, n, z)
        below, above = self.by_float / n - low, high - self.by_int8 / n
        shared = 2 * self._correlation() * below * above
        return self.drop - math.sqrt(max(0.0, below**2 - shared + above**2))

    def _correlation(self) -> float:
        margins = math.prod(
            (self.by_float, self.by_int8, self.gained + self.neither, self.lost + self.neither)
        )
        if not margins:
            return 0.0
        product = float(self.both * self.neither - self.lost * self.gained)
        if product > 0:
            product = max(product - self.objects / 2, 0)
        return product / math.sqrt(margins)


def wilson(found: int, objects: int, z: float) -> tuple[float, float]:
    """Return Wilson's score interval of a share of `objects` > 0, at `z` standard deviations."""
    share, wide = found / objects, z * z / objects
    middle = (share + wide / 2) / (1 + wide)
    half = z / (1 + wide) * math.sqrt(share * (1 - share) / objects + wide / (4 * objects))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class WorstPlace:
    """Where INT8 falls behind float most, as far as the objects there can tell."""

    place: str
    """Such as `row 1, column 4`, from the top left."""
    count: Count
    drop_at_least: float
    """Bound below the drop that holds for all judged cells together with 95 % probability."""
    judged: int
    cells: int

    def __str__(self) -> str:
        return (
            f"worst of {self.judged} judged cells ({self.cells} in all): {self.place}, where float "
            f"finds {self.count.by_float} and INT8 {self.count.by_int8} of {self.count.objects}"
        )


@dataclass
class Places:
    """Objects of one graph by cell, (row, column) from the top left, and by shelf level."""

    cells: dict[Cell, Count] = field(default_factory=lambda: defaultdict(Count))
    levels: dict[int, Count] = field(default_factory=lambda: defaultdict(Count))

    def add(self, cell: Cell, count: Count, level: int | None = None) -> None:
        """Count objects that stand there."""
        self.cells[cell] += count
        if level is not None:
            self.levels[level] += count

    @property
    def fewest(self) -> int:
        """Objects in the cell that has the fewest."""
        if len(self.cells) < GRID * GRID:
            return 0
        return min(count.objects for count in self.cells.values())

    @property
    def bands(self) -> list[Count]:
        """One count per row of cells, from the top."""
        return [
            sum((self.cells.get((row, column), Count()) for column in range(GRID)), Count())
            for row in range(GRID)
        ]

    @property
    def worst(self) -> WorstPlace | None:
        """The worst cell, or None where no cell has `FEWEST` objects."""
        judged = {cell: n for cell, n in sorted(self.cells.items()) if n.objects >= FEWEST}
        if not judged:
            return None
        # The worst of many cells looks bad by chance: each must be surer of itself (Bonferroni).
        sure = 1 - (1 - _SURE) / len(judged)
        at_least = {cell: count.drop_at_least(sure) for cell, count in judged.items()}
        row, column = max(judged, key=lambda cell: (at_least[cell], judged[cell].drop))
        return WorstPlace(
            f"row {row + 1}, column {column + 1}",
            judged[row, column],
            at_least[row, column],
            len(judged),
            GRID * GRID,
        )

    def for_passport(self) -> dict[str, Any]:
        """Return the grids as plain values, rows from the top, and the worst cell."""
        rows = [[self.cells.get((r, c), Count()) for c in range(GRID)] for r in range(GRID)]
        worst = self.worst
        return {
            "objects": [[count.objects for count in row] for row in rows],
            "float": [[count.by_float for count in row] for row in rows],
            "int8": [[count.by_int8 for count in row] for row in rows],
            "worst": None
            if worst is None
            else {
                "place": worst.place,
                "drop": round(worst.count.drop, 4),
                "drop_at_least": round(worst.drop_at_least, 4),
                "judged_cells": worst.judged,
            },
        }


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


def recall_by_place(
    reference: RawDetections,
    found: RawDetections,
    frames: Sequence[Image],
    truths: Sequence[Truth],
    pad: int,
) -> Places:
    """Count the annotated objects by where they stand and by whether float and INT8 find them."""
    places = Places()
    size = (frames[0].shape[1], frames[0].shape[0])
    both = zip(detections(reference, size), detections(found, size), strict=True)
    for frame, truth, (by_float, by_int8) in zip(frames, truths, both, strict=True):
        boxes, real = truth.inside, ~truth.crowd
        objects = Detections(boxes, np.ones(len(boxes), np.float32), truth.labels)
        seen, again = _found(objects, by_float), _found(objects, by_int8)
        for index, cell in enumerate(cells_of(boxes, picture_in(frame, pad))):
            if real[index]:
                count = _count(index in seen, index in again)
                places.add(cell, count, truth.levels[index])
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
    objects = _objects(frames, reference, pad)
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
            for variant in variants(frames[index], objects[index].xyxy, picture, turn, pad):
                moved = _still_whole(objects[index], variant, picture)
                seen = _follow(runtimes[FLOAT], variant, moved)
                for part in used:
                    again = _follow(runtimes[part], variant, moved)
                    _note(parts[part], variant, cells_of(moved.xyxy, picture), seen, again)
    return parts


def _objects(frames: Sequence[Image], reference: RawDetections, pad: int) -> list[Detections]:
    """Return each frame's whole objects: float's confident detections, or all if these are few."""
    size = (frames[0].shape[1], frames[0].shape[0])
    clear = [
        found.where(whole(found.xyxy, picture_in(frame, pad)))
        for frame, found in zip(frames, detections(reference, size), strict=True)
    ]
    confident = sum(int((found.scores >= CONFIDENT).sum()) for found in clear)
    floor = CONFIDENT if confident >= _FEWEST_CONFIDENT else THRESHOLD
    return [found.where(found.scores >= floor) for found in clear]


def _spread(count: int, wanted: int) -> list[int]:
    places = np.linspace(0, count - 1, min(count, wanted)).round().astype(int)
    return [int(place) for place in places]


def _still_whole(objects: Detections, variant: Variant, picture: Region) -> Detections:
    boxes = variant.to_here(objects.xyxy)
    moved = Detections(boxes, objects.scores, objects.labels)
    return moved.where(whole(boxes, picture))


def _follow(runtime: OnnxRuntime, variant: Variant, objects: Detections) -> set[int]:
    height, width, _ = variant.image.shape
    (found,) = detections(runtime.infer(variant.image[np.newaxis]), (width, height))
    return _found(objects, found)


def _found(objects: Detections, found: Detections) -> set[int]:
    """Return which objects are among the detections: same label, IoU >= 0.5, `THRESHOLD`."""
    return {row for row, _, _ in match(objects, found.where(found.scores >= THRESHOLD))}


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
