"""Frames in, detections out: letterbox, one inference, one comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.detections import Detections
from edge.detector.letterbox import letterbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detector.bundle import InputSpec
    from edge.detector.letterbox import Placement
    from edge.detector.runtime import RawDetections, Runtime
    from edge.frame import Frame, FrameStamp, Image


@dataclass(frozen=True, slots=True)
class Prepared:
    """A letterboxed frame, uint8 (H, W, 3) of the network input, and where the frame lies in it."""

    stamp: FrameStamp
    placement: Placement
    pixels: Image


def prepare(frame: Frame, spec: InputSpec) -> Prepared:
    """Bring a frame to the network's input; any thread may do it, so cameras do it themselves."""
    pixels, placement = letterbox(frame.image, spec)
    return Prepared(frame.stamp, placement, pixels)


def detect(runtime: Runtime, batch: Sequence[Prepared], floor: float) -> list[Detections]:
    """Run the network once; return per frame what scores at least `floor`, in frame pixels.

    Only the thread that opened `runtime` may call this.
    """
    frames = (
        batch[0].pixels[np.newaxis]
        if len(batch) == 1
        else np.stack([item.pixels for item in batch])
    )
    raw = runtime.infer(frames)
    return [decode(raw, index, item.placement, floor) for index, item in enumerate(batch)]


def decode(raw: RawDetections, index: int, placement: Placement, floor: float) -> Detections:
    """Return frame `index` of a batch: the slots that score at least `floor`, best first.

    A score of 0 marks an unused slot, whatever `floor` is. Boxes are in pixels of the frame.
    """
    scores = raw.scores[index]
    slots = np.flatnonzero(scores >= max(floor, np.finfo(np.float32).tiny))
    return Detections(
        placement.to_frame(raw.boxes[index, slots]), scores[slots], raw.labels[index, slots]
    )
