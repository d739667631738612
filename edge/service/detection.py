"""The detector thread: owns the inference runtime from open to close."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout  # its own until Python 3.11
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge.detector.detector import UnderWay
from edge.errors import EdgeError, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from edge.capture.mailbox import Mailbox
    from edge.detector.bundle import Bundle
    from edge.detector.detector import Found, Prepared
    from edge.detector.runtime import RawDetections, Runtime
    from edge.detector.runtimes import Engine
    from edge.frame import FrameStamp

log = logging.getLogger(__name__)

IDLE_S = 0.25
"""How long it waits for a frame before it looks whether it should stop."""


class Frames(Protocol):
    """Where frames come from: a `Mailbox`, or what stands before one."""

    def take(
        self, limit: int, timeout: float, unless: Callable[[], bool]
    ) -> list[tuple[str, Prepared]]:
        """Return up to `limit` frames, each with its camera."""
        ...


def turn(
    frames: Frames, under_way: UnderWay, limit: int, timeout_s: float
) -> list[tuple[Prepared, Found]]:
    """Begin what the cameras have, at most `limit` frames, and finish what is due.

    Waits at most `timeout_s` for a frame or a batch that is done; a batch that has to be finished
    before another can begin is waited for.
    """
    taken = frames.take(limit, timeout_s, lambda: under_way.due)
    if taken:
        under_way.begin([item for _, item in taken])
    may_go_on = taken and not under_way.full
    return under_way.finish() if under_way.due and not may_go_on else []


@dataclass(frozen=True, slots=True)
class DetectionHealth:
    """How the detector thread is doing."""

    runtime: str
    progress_s: float
    """Monotonic time at which its loop last went round."""
    frames: int
    """Frames detected since the start."""


class DetectionThread(threading.Thread):
    """Takes the freshest frame of every camera that has one, detects, hands on what it found.

    `found` is called on this thread with a frame's stamp and what was found; it must not block.
    `floor` is asked, before each batch, from which score on detections are anybody's business.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        mailbox: Mailbox[Prepared],
        found: Callable[[FrameStamp, Found], None],
        floor: Callable[[], float],
    ) -> None:
        super().__init__(name="detector", daemon=True)
        self._bundle = bundle
        self._engine = engine
        self._mailbox = mailbox
        self._found = found
        self._floor = floor
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._health = DetectionHealth("loading", time.monotonic(), 0)
        self._frames = 0
        self._asked: deque[tuple[npt.NDArray[np.uint8], Future[RawDetections]]] = deque()
        self.error: Exception | None = None
        """Why the thread ended, if not because it was asked to."""

    @property
    def ready(self) -> bool:
        """Whether the runtime has passed the bundle's golden, and serves."""
        return self._ready.is_set()

    def health(self) -> DetectionHealth:
        """Return a snapshot, from any thread."""
        return self._health

    @property
    def part(self) -> str:
        """The part of the bundle whose golden the serving runtime is held to."""
        return self._engine.part

    def infer(self, frames: npt.NDArray[np.uint8], timeout_s: float) -> RawDetections:
        """Run letterboxed frames, uint8 (B, H, W, 3), between two batches of the cameras.

        For one other thread at a time, which waits. Raises `RuntimeFailure` if nothing came of it
        within `timeout_s`, and what the runtime raises.
        """
        answer: Future[RawDetections] = Future()
        self._asked.append((frames, answer))
        try:
            return answer.result(timeout_s)
        except (TimeoutError, FutureTimeout, CancelledError):
            answer.cancel()
            raise RuntimeFailure(
                f"the detector did not answer within {timeout_s:.0f} s", "look at the log"
            ) from None

    def stop(self, timeout_s: float) -> bool:
        """Ask the thread to end and wait, at most `timeout_s`; return whether it has ended."""
        self._stopping.set()
        self._mailbox.close()
        if self.is_alive():
            self.join(timeout_s)
        if self.is_alive():
            log.warning("the detector did not end within %.1f s: it is left behind", timeout_s)
        return not self.is_alive()

    def run(self) -> None:
        """Load, hold to golden, then detect until told to stop."""
        try:
            with self._engine.serving(self._bundle) as serving:
                log.info(
                    "%s: golden kept %.3f, %.1f ms a frame",
                    serving.description,
                    serving.golden.kept,
                    serving.golden.milliseconds,
                )
                self._health = DetectionHealth(serving.description, time.monotonic(), 0)
                self._ready.set()
                self._detect(serving.runtime)
        except EdgeError as error:
            self.error = error
        except Exception as error:  # the thread's last stand: the daemon reports it and ends
            log.exception("the detector thread failed")
            self.error = RuntimeFailure(
                f"the detector failed: {type(error).__name__}: {error}",
                "the log above has the trace; run `edge verify` on the bundle",
            )
        finally:
            for _, answer in tuple(self._asked):
                answer.cancel()

    def _detect(self, runtime: Runtime) -> None:
        """Keep as many batches under way as the runtime takes; hand on what each gives."""
        floor = self._floor()
        under_way = self._none_under_way(runtime, floor)
        while not self._stopping.is_set():
            self._hand_on(turn(self._mailbox, under_way, runtime.max_batch, self._patience_s()))
            if self._asked or floor != self._floor():
                while under_way:
                    self._hand_on(under_way.finish())
                floor = self._floor()
                under_way = self._none_under_way(runtime, floor)
                self._answer_one(runtime)
            self._went_round()

    def _none_under_way(self, runtime: Runtime, floor: float) -> UnderWay:
        return UnderWay(runtime, self._bundle.passport.input, floor, self._mailbox.wake)

    def _patience_s(self) -> float:
        return 0.0 if self._asked else IDLE_S

    def _hand_on(self, finished: list[tuple[Prepared, Found]]) -> None:
        for item, found in finished:
            self._found(item.stamp, found)
            self._frames += 1

    def _answer_one(self, runtime: Runtime) -> None:
        if not self._asked:
            return
        frames, answer = self._asked.popleft()
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits for it any more
        try:
            answer.set_result(runtime.infer(frames))
        except Exception as error:
            answer.set_exception(error)
            raise

    def _went_round(self) -> None:
        self._health = DetectionHealth(self._health.runtime, time.monotonic(), self._frames)
