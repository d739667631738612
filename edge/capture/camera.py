"""A camera: its source kept open, its frames at the rate asked for, and how it is doing."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from edge.capture import readers
from edge.capture.pacing import Backoff
from edge.capture.session import Doing, Session, Tally
from edge.capture.source import parse_source
from edge.capture.status import CameraStatus
from edge.frame import Blindness

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.capture.reader import Reader
    from edge.capture.source import Source
    from edge.config import CameraConfig
    from edge.frame import Frame

log = logging.getLogger(__name__)

STARTING_S = 10.0
"""A camera that brought no picture for this long after the start is stalled."""
STALLED_S = 5.0
"""So is one that brought none for this long, or for three of its frames if that is longer."""
STUCK_S = 30.0
"""To open a camera may take 28 s, OpenCV's and our own time-outs together, and to read from it 5 s:
what takes this long is given up, with its thread (OpenCV's `read` has been seen to block 80 s)."""

_POLL_S = 0.25
_STEADY_S = 10.0
_MAX_STUCK = 3
_LOG_EVERY = 20


class Camera:
    """Keeps one source open and delivers its frames, on threads of its own.

    `deliver` is called with each frame looked at, on the camera's thread, and returns whether a
    frame was lost by it (for a live source: the older one that this one replaced). It must return
    within a second or so; for a source that can wait (not `live`) it may block longer until the
    frame is wanted, and should return at once when the service stops. A frame's stamp says if the
    picture alone shows nothing; `status` gives the settled verdict.

    A live source is opened again for ever; a recording ends with its last picture. The constructor
    raises `SourceError` if the URI is not understood.
    """

    def __init__(
        self,
        config: CameraConfig,
        deliver: Callable[[Frame], bool | None],
        *,
        opener: Callable[[Source], Reader] = readers.open_reader,
        stuck_s: float = STUCK_S,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = config.name
        self.source = parse_source(config.source)
        self._deliver = deliver
        self._opener = opener
        self._stuck_s = stuck_s
        self._backoff = backoff or Backoff()
        self._stalled_s = max(STALLED_S, 3 / config.fps)
        self._tally = Tally(config.fps, live=self.live)
        self._stopping = threading.Event()
        self._thread = threading.Thread(
            target=self._supervise, name=f"supervisor-{self.name}", daemon=True
        )
        self._started_s: float | None = None
        self._session: Session | None = None
        self._given_up: list[Session] = []
        self._detail = ""
        self._told: set[str] = set()
        self._ended = False

    @property
    def live(self) -> bool:
        """Whether the newest frame counts; if not, every frame the budget asks for does."""
        return self.source.live

    @property
    def ended(self) -> bool:
        """Whether a recording is over, or its rest cannot be read: there will be no more frames."""
        return self._ended

    def check(self) -> None:
        """Raise `SourceError` or `MissingPackage` if the source can never be opened here."""
        readers.check(self.source)

    def start(self) -> None:
        """Begin; returns at once."""
        self._started_s = time.monotonic()
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have its threads end as soon as they can; returns at once."""
        self._stopping.set()
        if self._session is not None:
            self._session.tell_to_stop()

    def stop(self, timeout: float) -> bool:
        """End, and wait at most `timeout` seconds; may be called twice.

        Returns whether its threads have ended.
        """
        self.ask_to_stop()
        deadline_s = time.monotonic() + timeout
        if self._thread.is_alive():
            self._thread.join(timeout)
        session = self._session
        if session is not None and session.is_alive():
            session.join(max(0.0, deadline_s - time.monotonic()))
            if session.is_alive():
                doing = session.doing[0].value
                log.warning("camera %s: still %s when told to end, left", self.name, doing)
        return not (self._thread.is_alive() or (session is not None and session.is_alive()))

    def status(self) -> CameraStatus:
        """Return a snapshot; from any thread, at any time, without waiting."""
        now_s = time.monotonic()
        tally = self._tally
        return CameraStatus(
            camera=self.name,
            blindness=self._blindness(now_s),
            fps=tally.looked.per_second(now_s),
            dropped=tally.dropped,
            reopened=max(0, tally.opened - 1),
            detail="" if self._works() else self._detail,
        )

    def _blindness(self, now_s: float) -> Blindness | None:
        if self._ended:
            return Blindness.STALLED
        session, last_s = self._session, self._tally.last_s
        if last_s is None:
            waited = self._started_s is not None and now_s - self._started_s > STARTING_S
            return Blindness.STALLED if waited else Blindness.STARTING
        # Who waits for the detector is not stalled.
        held_up = not self.live and session is not None and session.doing[0] is Doing.DELIVERING
        if now_s - last_s > self._stalled_s and not held_up:
            return Blindness.STALLED
        return self._tally.visibility.settled

    def _works(self) -> bool:
        session = self._session
        return session is not None and session.first_s is not None and not session.done.is_set()

    def _supervise(self) -> None:
        while not self._stopping.is_set() and not self._ended:
            if self._too_many_stuck():
                self._stopping.wait(_POLL_S)
                continue
            self._session = session = Session(
                self.name, self.source, self._opener, self._deliver, self._tally
            )
            session.start()
            self._watch(session)
            session.tell_to_stop()
            if not self._stopping.is_set():
                self._conclude(session)

    def _watch(self, session: Session) -> None:
        """Return when the session is done, stuck, or to be stopped."""
        greeted = False
        while not self._stopping.is_set() and not session.done.wait(_POLL_S):
            if session.first_s is not None and not greeted:
                greeted, self._told = True, set()
                log.info("camera %s: %s brings pictures", self.name, self.source)
            doing, since_s = session.doing
            busy = doing in {Doing.OPENING, Doing.READING}
            if busy and time.monotonic() - since_s > self._stuck_s:
                self._given_up.append(session)
                return

    def _conclude(self, session: Session) -> None:
        """Say why a session is over, and wait before the next if there is to be one."""
        self._detail = self._reason(session)
        once = self.source.recorded and not self.source.loop
        if session.ended or (once and session.first_s is not None):
            # To start over after an error would show the same pictures twice.
            self._ended = True
            level = logging.INFO if session.ended else logging.ERROR
            log.log(level, "camera %s: %s", self.name, self._detail)
            return
        if session.first_s is not None and time.monotonic() - session.first_s > _STEADY_S:
            self._backoff.reset()
        delay_s = self._backoff.next()
        level = logging.WARNING if self._is_news() else logging.DEBUG
        log.log(level, "camera %s: %s; trying again in %.1f s", self.name, self._detail, delay_s)
        self._stopping.wait(delay_s)

    def _reason(self, session: Session) -> str:
        if session.ended:
            return f"{self.source}: end of the recording"
        if session.error is not None:
            return str(session.error)
        return (
            f"{self.source}: OpenCV has been {session.doing[0].value} for {self._stuck_s:.0f} s, "
            "far past its time-out, and its thread is given up; "
            "check the source with another program (ffplay, v4l2-ctl, gst-launch-1.0)"
        )

    def _is_news(self) -> bool:
        """Whether the log should hear of this failure: a new cause, or one in many of the old."""
        repeated = self._detail in self._told
        self._told.add(self._detail)
        return not repeated or self._backoff.attempts % _LOG_EVERY == 0

    def _too_many_stuck(self) -> bool:
        self._given_up = [session for session in self._given_up if session.is_alive()]
        if len(self._given_up) < _MAX_STUCK:
            return False
        detail = f"{self.source}: {_MAX_STUCK} threads are stuck in OpenCV; waiting for one of them"
        if self._detail != detail:
            self._detail = detail
            log.error("camera %s: %s; restart the service if this stays", self.name, detail)
        return True
