"""Frames in, detections out: letterbox, one inference, one comparison."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.detections import Detections

from .runtime import nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.detector.bundle import InputSpec
    from edge.detector.letterbox import Placement
    from edge.detector.runtime import Pending, RawDetections, Runtime
    from edge.frame import Frame, FrameStamp, Image


_USED = float(np.finfo(np.float32).tiny)
"""The least score of a slot that holds something."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame on its way to the network: uint8 (H, W, 3) BGR, and where it lies in the input.

    `pixels` are letterboxed already, or the frame itself where the runtime letterboxes.
    """

    stamp: FrameStamp
    placement: Placement
    pixels: Image


def prepare(frame: Frame, spec: InputSpec, runtime: Runtime) -> Prepared:
    """Bring a frame to what the runtime takes; any thread may, so cameras do it themselves."""
    pixels, placement = runtime.prepare(frame.image, spec)
    return Prepared(frame.stamp, placement, pixels)


@dataclass(frozen=True, slots=True)
class Found:
    """What a network gave for frame `index` of a batch, still to be decoded; see `decode`.

    Decoding is left to whoever looks at it, on a thread that the network does not wait for.
    """

    raw: RawDetections
    index: int
    placement: Placement
    floor: float

    def detections(self) -> Detections:
        """Decode it."""
        return decode(self.raw, self.index, self.placement, self.floor)


class UnderWay:
    """The batches that a runtime works on, at most its `in_flight`, oldest first.

    Only the thread that opened `runtime` may use them. Detections are in frame pixels and score at
    least `floor`.
    """

    def __init__(
        self,
        runtime: Runtime,
        spec: InputSpec,
        floor: float,
        done: Callable[[], None] = nobody,
    ) -> None:
        self._runtime = runtime
        self._spec = spec
        self._floor = floor
        self._done = done
        self._batches: deque[tuple[Sequence[Prepared], Pending]] = deque()

    def __len__(self) -> int:
        return len(self._batches)

    @property
    def full(self) -> bool:
        """Whether one has to be finished before another can begin."""
        return len(self) >= self._runtime.in_flight

    @property
    def due(self) -> bool:
        """Whether there is an oldest batch, and nothing to be gained by finishing it later."""
        return bool(self._batches) and (self.full or self._batches[0][1].is_done())

    def begin(self, batch: Sequence[Prepared]) -> None:
        """Hand a batch to the network; `done` is called when it is, if the runtime can tell."""
        images = [item.pixels for item in batch]
        self._batches.append((batch, self._runtime.submit(images, self._spec, self._done)))

    def finish(self) -> list[tuple[Prepared, Found]]:
        """Wait for the oldest batch; return its frames, and what was found in each."""
        batch, pending = self._batches.popleft()
        raw = pending.outputs()
        return [
            (item, Found(raw, index, item.placement, self._floor))
            for index, item in enumerate(batch)
        ]


def decode(raw: RawDetections, index: int, placement: Placement, floor: float) -> Detections:
    """Return frame `index` of a batch: the slots that score at least `floor`, best first.

    A score of 0 marks an unused slot, whatever `floor` is. Boxes are in pixels of the frame.
    """
    scores = raw.scores[index]
    slots = np.flatnonzero(scores >= max(floor, _USED))
    return Detections(
        placement.to_frame(raw.boxes[index, slots]), scores[slots], raw.labels[index, slots]
    )
