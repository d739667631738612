"""The frames that INT8 is judged on: unseen by calibration, and showing something."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edge.detector.golden import FLOAT
from edge.detector.letterbox import letterbox
from edge.detector.runtime import RawDetections
from engines.evaluation.accuracy import CONFIDENT, THRESHOLD, run_graph
from engines.evaluation.sound import refuse_blind, refuse_not_numbers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.frame import Image
    from engines.evaluation.coco import Annotated, Truth
    from engines.images import Selection
    from engines.inspection import Adapted

    Progress = Callable[[str, int, int], None]

MOST_ANNOTATED = 300
"""Annotated images beyond which more only take time; chosen evenly at random, always the same."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """G letterboxed frames, uint8 (H, W, 3) BGR each, and what the float model finds in them."""

    frames: list[Image]
    truths: list[Truth | None]
    """What the annotations say of each; None where they say nothing."""
    raw: RawDetections
    views: int = 0
    """How many of the frames, the last ones, are views of those before; see views.py."""

    def __post_init__(self) -> None:
        lengths = (len(self.frames), len(self.truths), len(self.raw.scores))
        if len(set(lengths)) != 1:
            raise ValueError(f"HeldOut: expected one truth and output a frame, got {lengths}")

    @property
    def confident(self) -> int:
        """Float detections of `CONFIDENT` or more in frames that are no views."""
        own = len(self.frames) - self.views
        return int((self.raw.scores[:own] >= CONFIDENT).sum())

    @property
    def told(self) -> str:
        """The frames in words: "64 held-out images and 150 views of them"."""
        views = f" and {self.views} views of them" if self.views else ""
        return f"{len(self.frames) - self.views} held-out images{views}"

    @property
    def annotated(self) -> tuple[list[int], list[Truth]]:
        """Which frames are annotated, and how."""
        known = [(i, truth) for i, truth in enumerate(self.truths) if truth is not None]
        return [i for i, _ in known], [truth for _, truth in known]


def choose(
    adapted: Adapted, chosen: Selection, annotated: Sequence[Annotated], progress: Progress
) -> tuple[Selection, HeldOut]:
    """Return the frames to calibrate on, and those to judge on with the float model's detections.

    Annotated images that calibration does not see are added to what was held out. Where all that
    is held out shows nothing, calibration gives away every other frame that does. Raises
    `DetectsNothing` where none does, or where the model gives no numbers.
    """
    frames, truths = list(chosen.held_out), _unknown(chosen.held_out)
    if annotated:
        frames, truths = _with_annotated(adapted, chosen, annotated, progress)
    raw = float_detections(adapted, frames, progress)
    if detecting(raw):
        return chosen, HeldOut(frames, truths, raw)
    _log.warning("the float model detects nothing on %d held-out images", len(frames))
    others = float_detections(adapted, chosen.calibration, progress)
    given = detecting(others)[::2]
    if not given:
        refuse_blind(adapted, _joined(raw, others))
    more = [chosen.calibration[index] for index in given]
    left = [f for index, f in enumerate(chosen.calibration) if index not in given]
    kept = replace(chosen, calibration=left, held_out=frames + more)
    return kept, joined(HeldOut(frames, truths, raw), more, _rows(others, given))


def joined(held_out: HeldOut, frames: Sequence[Image], raw: RawDetections) -> HeldOut:
    """Return the frames and more, which nobody has annotated, with what float finds in them."""
    truths = held_out.truths + _unknown(frames)
    return HeldOut([*held_out.frames, *frames], truths, _joined(held_out.raw, raw))


def float_detections(
    adapted: Adapted, frames: Sequence[Image], progress: Progress
) -> RawDetections:
    """Run the float contract graph; raises `DetectsNothing` where it gives no numbers."""
    raw = run_graph(
        adapted.graph, frames, lambda done, total: progress(f"evaluating {FLOAT}", done, total)
    )
    refuse_not_numbers(adapted, frames, raw)
    return raw


def _with_annotated(
    adapted: Adapted, chosen: Selection, annotated: Sequence[Annotated], progress: Progress
) -> tuple[list[Image], list[Truth | None]]:
    """Return the annotated frames that calibration does not see, then what else was held out."""
    seen = {_digest(frame) for frame in chosen.calibration}
    frames: list[Image] = []
    truths: list[Truth | None] = []
    left_out = 0
    # Neighbours in a folder are neighbours in time: the first 300 would be one aisle.
    order = np.random.default_rng(0).permutation(len(annotated))
    for number, index in enumerate(order):
        if len(frames) == MOST_ANNOTATED:
            break
        progress("reading annotated images", number, len(order))
        read = _read(adapted, annotated[index])
        left_out += read is None
        if read is not None and (digest := _digest(read[0])) not in seen:
            seen.add(digest)
            frames.append(read[0])
            truths.append(read[1])
    if not frames:
        _log.warning(
            "no annotated image is left to judge on, %d are calibrated on and %d left out: "
            "accuracy is agreement with the float model; give more --images, annotated or not",
            len(annotated) - left_out,
            left_out,
        )
    others = [frame for frame in chosen.held_out if _digest(frame) not in seen]
    return frames + others, truths + _unknown(others)


def _read(adapted: Adapted, item: Annotated) -> tuple[Image, Truth] | None:
    import cv2

    image = cv2.imread(str(item.path), cv2.IMREAD_COLOR)
    if image is None:
        _log.warning("%s: not an image that OpenCV can read; left out", item.path)
        return None
    found = (image.shape[1], image.shape[0])
    if item.size_wh not in {found, (0, 0)}:
        _log.warning("%s: annotated as %s pixels, is %s; left out", item.path, item.size_wh, found)
        return None
    frame, placement = letterbox(np.asarray(image, np.uint8), adapted.input)
    return frame, item.truth(placement)


def _unknown(frames: Sequence[object]) -> list[Truth | None]:
    return [None for _ in frames]


def _digest(frame: Image) -> bytes:
    return hashlib.sha256(frame.tobytes()).digest()


def detecting(raw: RawDetections) -> list[int]:
    """Return the frames in which something is detected at `THRESHOLD`."""
    return [int(index) for index in np.flatnonzero((raw.scores >= THRESHOLD).any(axis=1))]


def _rows(raw: RawDetections, rows: Sequence[int]) -> RawDetections:
    return RawDetections(raw.boxes[rows], raw.scores[rows], raw.labels[rows])


def _joined(first: RawDetections, second: RawDetections) -> RawDetections:
    return RawDetections(
        np.concatenate([first.boxes, second.boxes]),
        np.concatenate([first.scores, second.scores]),
        np.concatenate([first.labels, second.labels]),
    )
