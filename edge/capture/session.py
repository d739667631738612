"""One opening of a camera's source: from open to its end, its failure, or being told to stop."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from datetime import datetime, timezone
from enum import Enum
from typing import TYPE_CHECKING

from edge.capture.pacing import Budget, Rate
from edge.capture.reader import EndOfSource
from edge.capture.source import redact
from edge.capture.visibility import Visibility
from edge.errors import CaptureError, EdgeError
from edge.frame import Frame, FrameStamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.capture.reader import Reader
    from edge.capture.source import Source
    from edge.frame import Image

log = logging.getLogger(__name__)

_LATE_S = 1.0
_RATE_S = 5.0


class Doing(str, Enum):
    """What a session is in the middle of."""

    OPENING = "opening"
    READING = "reading"
    DELIVERING = "delivering"
    NOTHING = "nothing"


class Tally:
    """What one camera has seen so far, over all its sessions; written by the current one."""

    def __init__(self, fps: float, *, live: bool) -> None:
        self.budget = Budget(fps)
        self.looked = Rate(max(_RATE_S, 3 / fps))
        self.visibility = Visibility(live=live)
        self.grabbed = 0
        self.dropped = 0
        self.opened = 0
        """Sessions that brought a picture."""
        self.last_s: float | None = None
        """Monotonic time of the last picture (of its delivery, if that had to wait)."""


class Session(threading.Thread):
    """Reads one source until it ends, fails, or is told to stop; owns it from open to close.

    Other threads read `doing`, `first_s`, and, once `done` is set, `error` and `ended`.
    """

    def __init__(
        self,
        name: str,
        source: Source,
        opener: Callable[[Source], Reader],
        deliver: Callable[[Frame], bool | None],
        tally: Tally,
    ) -> None:
        super().__init__(name=f"camera-{name}", daemon=True)
        self._camera = name
        self._source = source
        self._opener = opener
        self._deliver = deliver
        self._tally = tally
        self._over = threading.Event()
        self._media_start_s: float | None = None
        self.done = threading.Event()
        self.doing = (Doing.NOTHING, time.monotonic())
        """What it is in the middle of, and the monotonic time since when: one value, so that nobody
        reads one without the other."""
        self.first_s: float | None = None
        """Monotonic time of its first picture."""
        self.error: EdgeError | None = None
        """Why it ended; None: the recording is at its end, or it was told to."""
        self.ended = False
        """Whether the recording is at its end."""

    def tell_to_stop(self) -> None:
        """Let nothing more out; the thread ends when OpenCV lets go of it."""
        self._over.set()

    def run(self) -> None:
        """Open, read, close; never raises."""
        try:
            self._session()
        except EndOfSource:
            self.ended = True
        except EdgeError as error:
            self.error = error
        except Exception as error:  # noqa: BLE001 - the thread's last stand: it is told and retried
            trace = redact(traceback.format_exc())  # it may hold the URL
            log.error("camera %s: %s", self._camera, trace)  # noqa: TRY400
            self.error = CaptureError(
                f"camera {self._camera}: {type(error).__name__}: {redact(str(error))}",
                "the log above has the trace",
            )
        finally:
            self._do(Doing.NOTHING)
            self.done.set()

    def _session(self) -> None:
        self._do(Doing.OPENING)
        reader = self._opener(self._source)
        try:
            while not self._over.is_set():
                self._step(reader)
        finally:
            reader.close()

    def _step(self, reader: Reader) -> None:
        self._do(Doing.READING)
        media_s = reader.grab()
        if self._source.realtime:
            self._wait_for(media_s)
        if self._over.is_set():
            return  # it may have been given up long ago: what comes now is nobody's
        now_s, now = time.monotonic(), datetime.now(timezone.utc)
        number = self._tally.grabbed
        self._tally.grabbed += 1
        self._tally.last_s = now_s
        if self.first_s is None:
            self.first_s = now_s
            self._tally.opened += 1
        time_s = now_s if self._source.live else media_s
        if not self._tally.budget.due(time_s):
            return
        self._do(Doing.READING)
        image = reader.retrieve()
        if not self._over.is_set():
            self._look(image, number, time_s, now, now_s)

    def _look(self, image: Image, number: int, time_s: float, now: datetime, now_s: float) -> None:
        visibility = self._tally.visibility
        visibility.look(image, time_s)
        # A dark picture shows nothing, though one alone does not make the camera blind.
        blindness = visibility.settled or visibility.latest
        size = (image.shape[1], image.shape[0])
        stamp = FrameStamp(self._camera, number, now, now_s, size, blindness)
        self._tally.looked.tick(now_s)
        self._do(Doing.DELIVERING)
        self._tally.dropped += bool(self._deliver(Frame(stamp, image)))
        self._tally.last_s = time.monotonic()

    def _wait_for(self, media_s: float) -> None:
        """Keep to the pace of a recording that is played as if it were live."""
        self._do(Doing.NOTHING)
        now_s = time.monotonic()
        if self._media_start_s is None or now_s - self._media_start_s - media_s > _LATE_S:
            self._media_start_s = now_s - media_s
        self._over.wait(max(0.0, self._media_start_s + media_s - now_s))

    def _do(self, doing: Doing) -> None:
        self.doing = (doing, time.monotonic())
