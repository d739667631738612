"""The report thread: from composed messages to acknowledged ones, whatever broker and disk do."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from edge.errors import OutboxError

from .health import Health
from .outbox import Outbox
from .publisher import Publisher
from .shedding import Holding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from edge.config import MqttConfig, OutboxConfig

    from .compose import Composer, Outgoing, Reply, Service
    from .link import Arrived

_log = logging.getLogger(__name__)

_ROUND_S = 0.25
_OPEN_S = 30.0
_STATUS_S = 60.0
_GAP_S = 1.0
_INTAKE_MOST = 2000
_REPLIES_MOST = 16
_GOOD_BYE_S = 0.5
"""Of the time to stop, what is kept for the offline status to be acknowledged."""
_FAREWELL_S = 1.0
"""Of the time to stop, what is kept for the connection to be closed in good order."""


class Reporter:
    """Owns the outbox and the broker connection, in one thread.

    `step` is called in that thread at least every 0.25 s, and at once after `wake`; the messages it
    returns go out. It is where the service runs the aisles' logic. Whatever it raises ends the
    thread and is `health().failure`. Messages from other threads come in through `submit`.

    `on_command` is called in the connection's thread with each command, and must only take note.
    `keeps` are the topics that may hold a retained message of ours: what an earlier configuration
    left on others is cleared, once. None: nothing is.
    """

    def __init__(  # noqa: PLR0913 - it owns all of this
        self,
        outbox: OutboxConfig,
        broker: MqttConfig,
        composer: Composer,
        service: Service,
        step: Callable[[], Iterable[Outgoing]] | None = None,
        *,
        on_command: Callable[[Arrived], None] | None = None,
        keeps: frozenset[str] | None = None,
    ) -> None:
        self._outbox_config = outbox
        self._composer = composer
        self._service = service
        self._step = step or (lambda: ())
        self._condition = threading.Condition()
        self._intake: Holding[Outgoing] = Holding(_INTAKE_MOST)
        self._intake_shed = 0
        self._woken = self._news = False
        self._step_at = float("-inf")
        self._stop_by: float | None = None
        self._keeps = keeps
        self._replies: deque[Reply] = deque()
        self._publisher = Publisher(
            broker, composer.topics, self._will, self._wake_for_news, on_command
        )
        self._outbox: Outbox | None = None
        self._opened = threading.Event()
        self._sent_up_to = 0
        self._status_at = self._gap_at = 0.0
        self._told_first_seq: int | None = None
        self._acknowledged = 0
        self._progress_at = time.monotonic()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="report", daemon=True)

    def start(self) -> None:
        """Open the outbox and begin; raises `OutboxError` if it cannot be opened."""
        self._thread.start()
        if not self._opened.wait(_OPEN_S):
            raise OutboxError(
                f"outbox {self._outbox_config.path}: not open after {_OPEN_S:.0f} s",
                "look at its disk: does it answer, is it full, is it a network's?",
            )
        if self._outbox is None and self._failure is not None:
            raise self._failure

    def submit(self, message: Outgoing) -> None:
        """Take a message from any thread; never waits. Old detections go first if too many come."""
        with self._condition:
            self._intake_shed += len(self._intake.add((message,)))
            self._news = True
            self._condition.notify()

    def reply(self, reply: Reply) -> bool:
        """Send the answer to a command, past the outbox; from any thread, never waits.

        Returns False, and lets go of it, when too many wait already.
        """
        with self._condition:
            if len(self._replies) >= _REPLIES_MOST:
                return False
            self._replies.append(reply)
            self._news = True
            self._condition.notify()
            return True

    @property
    def largest(self) -> int | None:
        """Bytes of the largest message that the broker takes; None without a connection."""
        return self._publisher.connection.largest

    def wake(self) -> None:
        """Have `step` called now; from any thread."""
        with self._condition:
            self._woken = True
            self._condition.notify()

    def announce(self, composer: Composer, service: Service) -> None:
        """Tell the broker, at the next round, what is in service now; after a reload."""
        with self._condition:
            self._composer, self._service = composer, service
            self._status_at = 0.0
            self._condition.notify()

    def stop(self, timeout_s: float) -> bool:
        """Send what can be sent, say good-bye and end, all in that time; the rest stays on disk.

        Returns whether the thread has ended.
        """
        with self._condition:
            self._stop_by = time.monotonic() + max(0.0, timeout_s - _FAREWELL_S)
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def health(self) -> Health:
        """Return a snapshot; from any thread."""
        connection, outbox = self._publisher.connection, self._outbox
        trouble = connection.trouble
        return Health(
            connected=connection.connected,
            protocol=connection.protocol,
            backlog=outbox.backlog if outbox else 0,
            acknowledged=self._acknowledged,
            shed=outbox.shed if outbox else 0,
            disk_trouble=outbox.trouble if outbox else None,
            broker_trouble=trouble.what if trouble else None,
            last_progress_monotonic=self._progress_at,
            failure=self._failure or connection.refused,
        )

    def _run(self) -> None:
        try:
            outbox = Outbox(self._outbox_config.path, self._outbox_config.max_mb)
        except Exception as error:  # noqa: BLE001 - start() raises it in the caller's thread
            self._failure = error
            self._opened.set()
            return
        self._outbox = outbox
        self._opened.set()
        self._sweep(outbox)
        self._publisher.connection.start()
        try:
            while self._stop_by is None:
                self._round(outbox)
                self._sleep()
            self._finish(outbox, self._stop_by)
        except Exception as error:  # noqa: BLE001 - kept for health()
            _log.exception("report thread: ended by an error; the service has to be restarted")
            self._failure = error
        finally:
            self._publisher.connection.stop(_FAREWELL_S)
            outbox.close()

    def _round(self, outbox: Outbox) -> None:
        with self._condition:
            woken, self._woken, self._news = self._woken, False, False
            batch = self._intake.take()
            shed, self._intake_shed = self._intake_shed, 0
        now = time.monotonic()
        if woken or now - self._step_at >= _ROUND_S:
            self._step_at = now
            batch += self._step()
        if shed:
            outbox.count_unnumbered(shed)
        outbox.append(batch, self._publisher.in_flight)
        self._exchange(outbox)
        self._progress_at = time.monotonic()

    def _exchange(self, outbox: Outbox) -> None:
        progress = self._publisher.look()
        outbox.acknowledged(progress.acknowledged)
        self._acknowledged += len(progress.acknowledged)
        if progress.start_over:
            self._sent_up_to = 0
            self._status_at = 0.0
        if progress.cleared:
            outbox.forget_retained(progress.cleared)
            _log.info("cleared, no longer in the configuration: %s", ", ".join(progress.cleared))
        if self._publisher.connection.connected:
            self._tell_status(outbox)
            self._tell_gap(outbox)
            self._publisher.send_clearing()
            self._send_replies()
            self._publisher.send_repeats()
        self._send(outbox)

    def _sweep(self, outbox: Outbox) -> None:
        """Have cleared what an earlier configuration left with the broker."""
        outbox.remember_retained(self._composer.topics.status)
        if self._keeps is not None:
            self._publisher.clear(outbox.retained - self._keeps)

    def _send_replies(self) -> None:
        # Only this thread takes from it, so the first one stays the first one.
        while self._replies and self._publisher.send_reply(self._replies[0]):
            self._replies.popleft()

    def _send(self, outbox: Outbox) -> None:
        on_their_way = self._publisher.in_flight
        while room := self._publisher.room:
            letters = outbox.due(self._sent_up_to, room)
            for letter in letters:
                if letter.seq not in on_their_way and not self._publisher.send(letter):
                    return
                self._sent_up_to = letter.seq
            if not letters:
                return

    def _tell_status(self, outbox: Outbox) -> None:
        now = time.monotonic()
        same = self._told_first_seq == outbox.first_seq
        if same and self._status_at and now - self._status_at < _STATUS_S:
            return
        payload = self._composer.status(self._service, first_seq=outbox.first_seq, shed=outbox.shed)
        if self._publisher.send_status(payload):
            self._status_at, self._told_first_seq = now, outbox.first_seq

    def _tell_gap(self, outbox: Outbox) -> None:
        if time.monotonic() - self._gap_at >= _GAP_S:
            outbox.report_gap(self._composer.gap)
            self._gap_at = time.monotonic()

    def _sleep(self) -> None:
        until_step = max(0.0, self._step_at + _ROUND_S - time.monotonic())
        with self._condition:
            self._condition.wait_for(
                lambda: self._news or self._woken or self._stop_by is not None, until_step
            )

    def _finish(self, outbox: Outbox, stop_by: float) -> None:
        """Send what can be sent until then, and the good-bye last of all."""
        self._woken = True
        self._round(outbox)
        connection = self._publisher.connection
        while self._must_send(outbox) and time.monotonic() < stop_by - _GOOD_BYE_S:
            self._exchange(outbox)
            self._wait_for_news(0.05)
        self._replies.clear()
        offline = self._composer.status(self._service, offline="stopped", shed=outbox.shed)
        while not self._publisher.send_status(offline):
            if not connection.connected or time.monotonic() >= stop_by:
                return
            outbox.acknowledged(self._publisher.look().acknowledged)
            self._wait_for_news(0.05)
        while connection.connected and self._publisher.busy and time.monotonic() < stop_by:
            outbox.acknowledged(self._publisher.look().acknowledged)
            self._wait_for_news(0.05)

    def _must_send(self, outbox: Outbox) -> bool:
        waits = outbox.backlog or self._replies or self._publisher.repeating
        return self._publisher.connection.connected and bool(waits)

    def _wait_for_news(self, timeout_s: float) -> None:
        with self._condition:
            self._condition.wait_for(lambda: self._news, timeout_s)
            self._news = False

    def _wake_for_news(self) -> None:
        with self._condition:
            self._news = True
            self._condition.notify()

    def _will(self) -> bytes:
        return self._composer.status(self._service, offline="connection_lost")
