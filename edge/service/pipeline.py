"""Everything between the cameras and the messages: what `edge run` and `edge bench` both run."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from edge.aisles.aisles import Aisles
from edge.aisles.whereabouts import whereabouts_of
from edge.capture.camera import Camera
from edge.capture.mailbox import Mailbox
from edge.detector.detector import Found, Prepared, prepare
from edge.reporting.compose import utc_now

from .viewfinder import Viewfinder

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.capture.status import CameraStatus
    from edge.config import Config
    from edge.detector.bundle import Bundle
    from edge.detector.runtimes import Engine
    from edge.frame import Frame, FrameStamp
    from edge.reporting.compose import Composer, Outgoing

log = logging.getLogger(__name__)

OBSERVATIONS = 256
"""Frames' detections that may wait for the report thread; the oldest goes when there are more."""
BACK_PRESSURE_S = 0.5
"""How long a source that can wait, waits at a time before it looks whether it should stop."""


class Pipeline:
    """Cameras and aisles of one configuration.

    Camera threads prepare frames and put them in `mailbox`; the detector thread takes from it and
    calls `found`; the report thread calls `step`. Everything between them is bounded, and drops are
    counted.
    """

    def __init__(
        self,
        config: Config,
        bundle: Bundle,
        composer: Composer,
        engine: Engine,
        wake: Callable[[], None],
    ) -> None:
        self._spec = bundle.passport.input
        self._composer = composer
        self._engine = engine
        self._wake = wake
        self._heartbeat_s = config.publish.state_heartbeat_s
        self.aisles = Aisles(config, bundle.labels, bundle.passport.thresholds)
        self.mailbox: Mailbox[Prepared] = Mailbox(camera.name for camera in config.cameras)
        self.cameras = [Camera(camera, self._deliver) for camera in config.cameras]
        self.viewfinder = Viewfinder()
        # Only cameras that move have any.
        self._whereabouts = {
            camera.name: found for camera in config.cameras if (found := whereabouts_of(camera))
        }
        self._waits = {camera.name for camera in self.cameras if not camera.live}
        self._observed: deque[tuple[FrameStamp, Found]] = deque(maxlen=OBSERVATIONS)
        self._unreported = 0
        self._stopping = threading.Event()
        self._told: dict[str, tuple[float, CameraStatus]] = {}

    def start(self) -> None:
        """Start the cameras; raises `SourceError` for one whose source can never be opened."""
        for camera in self.cameras:
            camera.check()
        for camera in self.cameras:
            camera.start()

    def stop(self, timeout_s: float) -> bool:
        """Stop the cameras, all at once, within `timeout_s`; return whether all have ended."""
        self._stopping.set()
        self.mailbox.close()
        self.viewfinder.close()
        deadline = time.monotonic() + timeout_s
        for camera in self.cameras:
            camera.ask_to_stop()
        ended = [camera.stop(max(0.0, deadline - time.monotonic())) for camera in self.cameras]
        return all(ended)

    def _deliver(self, frame: Frame) -> bool:
        """Prepare a frame, on its camera's thread, and leave it for the detector.

        Returns whether a frame was lost by it. A recording that can wait does, until the detector
        has taken the frame before. A blind frame is not looked at: its aisles are told why.
        """
        self.viewfinder.show(frame)
        if frame.stamp.blindness is not None:
            return False
        if whereabouts := self._whereabouts.get(frame.stamp.camera):
            frame = whereabouts.stamped(frame)
        item = prepare(frame, self._spec, self._engine.runtime)
        if frame.stamp.camera not in self._waits:
            return self.mailbox.put(frame.stamp.camera, item)
        while not self._stopping.is_set():
            if self.mailbox.put_wait(frame.stamp.camera, item, BACK_PRESSURE_S):
                return False
        return True

    def found(self, stamp: FrameStamp, found: Found) -> None:
        """Take what the detector found in a frame; never blocks."""
        if len(self._observed) == OBSERVATIONS:
            self._unreported += 1
            if self._unreported % OBSERVATIONS == 1:
                log.warning(
                    "the report thread does not keep up: %d frames went unreported; "
                    "look at the outbox's disk",
                    self._unreported,
                )
        self._observed.append((stamp, found))
        self._wake()

    def step(self) -> list[Outgoing]:
        """Return the messages that are due, on the report thread."""
        due: list[Outgoing] = []
        while self._observed:
            stamp, found = self._observed.popleft()
            observed = self.aisles.observe(stamp, found.detections())
            due += map(self._composer.detections, observed)
        health = [camera.status() for camera in self.cameras]
        now = time.monotonic()
        due += map(self._composer.camera, filter(lambda s: self._is_news(s, now), health))
        due += map(self._composer.state, self.aisles.states(health, now, utc_now()))
        return due

    def _is_news(self, status: CameraStatus, now: float) -> bool:
        told = self._told.get(status.camera)
        if told is not None and now - told[0] < self._heartbeat_s:
            before = told[1]
            # How fast it is is not known at its first picture.
            known = before.fps > 0 or status.fps == 0
            if known and (before.state, before.blindness) == (status.state, status.blindness):
                return False
        self._told[status.camera] = (now, status)
        return True
