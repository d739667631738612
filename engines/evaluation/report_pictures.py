"""Frames and feature maps as small pictures that a page can hold in itself."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.detector.agreement import match
from edge.detector.golden import THRESHOLD_SLACK
from engines.evaluation.accuracy import THRESHOLD
from engines.evaluation.sweep import picture_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edge.detections import Detections
    from edge.frame import Image
    from engines.evaluation.report_layers import FeatureMap

WORST = 12
_LARGEST_BYTES = 28_000
_LARGEST_SIDE = 480
_LOWEST_QUALITY = 30
_LINE, _LETTER = 11, 6.4
"""Height of a line of text and width of a letter, pixels."""
_TILE = 88
_GAP = 4
_MOST_BOXES = 80
"""Of one kind, drawn on one frame; more say nothing to an eye."""
_MOST_NAMED = 12


@dataclass(frozen=True, slots=True)
class Box:
    """A detection to draw, in pixels of the picture; `style` is who has it."""

    style: str
    x: float
    y: float
    width: float
    height: float
    text: str
    """Label and score; drawn only where the two differ."""


@dataclass(frozen=True, slots=True)
class Text:
    """A line of text that begins at `x` and stands on `y`, in pixels of the picture."""

    style: str
    x: float
    y: float
    text: str


@dataclass(frozen=True, slots=True)
class WorstFrame:
    """One frame where INT8 differs much."""

    number: int
    """Which of the held-out frames, from 0."""
    picture: str
    """A data URI."""
    width: int
    height: int
    boxes: tuple[Box, ...]
    texts: tuple[Text, ...]
    float_count: int
    int8_count: int
    slipped: int
    """Detections of float that INT8 has just below the threshold."""
    lost: tuple[str, ...]
    gained: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapPicture:
    """The channels of a layer: float above, INT8 below."""

    name: str
    noise: float
    picture: str
    width: int
    height: int


def worst_frames(
    frames: Sequence[Image],
    pairs: Sequence[tuple[Detections, Detections]],
    labels: Sequence[str],
    pad: int,
) -> list[WorstFrame]:
    """Return the frames where INT8 differs most from float, the worst first.

    What is lost or made up counts by its score, what moved by how far. Frames without any
    difference are left out, and so are the letterbox's bars of grey `pad`.
    """
    seen = [_compare(reference, found) for reference, found in pairs]
    order = sorted(range(len(frames)), key=lambda index: (-seen[index].harm, index))
    return [
        _worst(index, _Canvas.of(frames[index], pad), seen[index], labels)
        for index in order[:WORST]
        if seen[index].harm > 0
    ]


@dataclass(frozen=True, slots=True)
class _Compared:
    """One frame's detections, and which of them have no counterpart."""

    reference: Detections
    found: Detections
    lost: list[int]
    gained: list[int]
    slipped: int
    harm: float


def _compare(reference: Detections, found: Detections) -> _Compared:
    """Pair detections as the budget does: what slips just below the threshold is not lost."""
    near = (_above(reference, THRESHOLD_SLACK), _above(found, THRESHOLD_SLACK))
    sure = (_above(reference, 0.0), _above(found, 0.0))
    kept = match(sure[0], near[1])
    known = {f for _, f, _ in match(near[0], sure[1])}
    lost = sorted(set(range(len(sure[0]))) - {r for r, _, _ in kept})
    gained = sorted(set(range(len(sure[1]))) - known)
    alone = len(lost) + len(gained)
    harm = alone + float(sure[0].scores[lost].sum() + sure[1].scores[gained].sum())
    harm += sum(abs(float(near[1].scores[f] - sure[0].scores[r])) + 1 - iou for r, f, iou in kept)
    slipped = sum(bool(near[1].scores[f] < THRESHOLD) for _, f, _ in kept)
    return _Compared(*sure, lost, gained, slipped, harm)


def _above(found: Detections, slack: float) -> Detections:
    return found.where(found.scores >= THRESHOLD - slack)


@dataclass(frozen=True, slots=True)
class _Canvas:
    """The picture of a frame, and where its pixels lie: (frame pixel - corner) * scale."""

    image: Image
    corner: tuple[int, int]
    scale: float

    @classmethod
    def of(cls, frame: Image, pad: int) -> _Canvas:
        import cv2

        left, top, right, bottom = picture_in(frame, pad)
        shown = np.ascontiguousarray(frame[top:bottom, left:right])
        scale = min(1.0, _LARGEST_SIDE / max(shown.shape[:2]))
        if scale < 1:
            size = (round(shown.shape[1] * scale), round(shown.shape[0] * scale))
            shown = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.uint8)
        return cls(shown, (left, top), scale)

    def box(self, style: str, side: Detections, index: int, text: str = "") -> Box:
        corners = (side.xyxy[index] - np.array(self.corner * 2)) * self.scale
        left, top, right, bottom = (round(float(value), 1) for value in corners)
        return Box(style, left, top, round(right - left, 1), round(bottom - top, 1), text)

    def texts(self, boxes: Sequence[Box]) -> tuple[Text, ...]:
        """Write each box's text near it, inside the picture and on no other text."""
        height, width = self.image.shape[:2]
        placed: list[Text] = []
        for box in [box for box in boxes if box.text][:_MOST_NAMED]:
            long = len(box.text) * _LETTER
            x = max(2.0, min(box.x + 2, width - long))
            for y in (
                box.y - 3,
                box.y + _LINE,
                box.y + box.height + _LINE,
                *range(_LINE, height, _LINE),
            ):
                new = Text(box.style, round(x, 1), round(float(y), 1), box.text)
                if _LINE <= y <= height and not any(_overlap(new, other) for other in placed):
                    placed.append(new)
                    break
        return tuple(placed)


def _overlap(a: Text, b: Text) -> bool:
    apart = a.x + len(a.text) * _LETTER < b.x or b.x + len(b.text) * _LETTER < a.x
    return not apart and abs(a.y - b.y) < _LINE


def _worst(number: int, canvas: _Canvas, seen: _Compared, labels: Sequence[str]) -> WorstFrame:
    def named(side: Detections, index: int) -> str:
        label = int(side.labels[index])
        name = labels[label] if 0 <= label < len(labels) else f"label {label}"
        return f"{name} {side.scores[index]:.2f}"

    reference, found = seen.reference, seen.found
    both = [("float", reference, i) for i in range(len(reference)) if i not in seen.lost]
    both += [("int8", found, i) for i in range(len(found)) if i not in seen.gained]
    boxes = [canvas.box(style, side, i) for style, side, i in both if i < _MOST_BOXES]
    for style, side, alone in (("lost", reference, seen.lost), ("gained", found, seen.gained)):
        boxes += [canvas.box(style, side, i, named(side, i)) for i in alone[:_MOST_BOXES]]
    return WorstFrame(
        number,
        _jpeg(canvas.image),
        canvas.image.shape[1],
        canvas.image.shape[0],
        tuple(boxes),
        canvas.texts(boxes),
        len(reference),
        len(found),
        seen.slipped,
        _some([named(reference, i) for i in seen.lost]),
        _some([named(found, i) for i in seen.gained]),
    )


def _some(names: Sequence[str]) -> tuple[str, ...]:
    more = len(names) - _MOST_NAMED
    return (*names[:_MOST_NAMED], f"{more} more") if more > 1 else tuple(names)


def map_picture(shown: FeatureMap) -> MapPicture:
    """Draw a layer's channels, float above INT8, both in the same greys."""
    import cv2

    tiles = []
    for by_float, by_int8 in zip(shown.by_float, shown.by_int8, strict=True):
        low, high = float(by_float.min()), float(by_float.max())
        column = []
        for values in (by_float, by_int8):
            grey = np.clip((values - low) / max(high - low, 1e-9), 0, 1) * 255
            tile = cv2.resize(
                grey.round().astype(np.uint8), (_TILE, _TILE), interpolation=cv2.INTER_NEAREST
            )
            column += [np.asarray(tile, np.uint8), np.full((_GAP, _TILE), 255, np.uint8)]
        tiles += [np.concatenate(column[:-1]), np.full((2 * _TILE + _GAP, _GAP), 255, np.uint8)]
    sheet = np.concatenate(tiles[:-1], axis=1)
    return MapPicture(shown.name, shown.noise, _jpeg(sheet), sheet.shape[1], sheet.shape[0])


def _jpeg(image: npt.NDArray[np.uint8]) -> str:
    """Return a data URI of at most `_LARGEST_BYTES`, or of the lowest quality worth a look."""
    import cv2

    quality = 80
    while True:
        _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if len(coded) <= _LARGEST_BYTES or quality <= _LOWEST_QUALITY:
            return f"data:image/jpeg;base64,{base64.b64encode(coded.tobytes()).decode('ascii')}"
        quality -= 10
