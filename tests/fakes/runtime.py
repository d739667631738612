"""A runtime whose batches are done when the test says so."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np

from edge.detector.runtime import Pending, RawDetections, Runtime, nobody

SHAPE = (8, 8, 3)


class ToldRuntime(Runtime):
    """Takes `in_flight` batches; `do(n)` finishes the n-th, whose one box scores 0.5."""

    name = "told"

    def __init__(self, in_flight):
        super().__init__(SHAPE)
        self.in_flight = in_flight
        self.begun: list[Future[RawDetections]] = []

    def begin(self, frames, done=nobody):
        self._check(frames)
        batch: Future[RawDetections] = Future()
        batch.add_done_callback(lambda _: done())
        self.begun.append(batch)
        return Pending(lambda: batch.result(5), batch.done)

    def do(self, index):
        box = np.float32([[[1, 1, 2, 2]]])
        self.begun[index].set_result(RawDetections(box, np.float32([[0.5]]), np.int32([[0]])))

    def describe(self):
        return "told what to do"

    def _open(self):
        """Nothing to load."""

    def _infer(self, frames):
        raise AssertionError(f"asked to wait for {frames.shape}")

    def _close(self):
        """Nothing to release."""
