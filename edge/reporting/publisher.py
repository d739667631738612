"""Sends letters to the broker, a window of them at a time, and learns which ones it has."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from .connection import Connection
from .link import Acknowledged, Arrived, Down, Listen, Up
from .unsaved import Unsaved

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from edge.config import MqttConfig

    from .compose import Reply
    from .link import Event
    from .store import Letter
    from .topics import Topics

_log = logging.getLogger(__name__)

_PATIENCE_S = 20.0
"""A broker that acknowledges nothing for so long, with messages in flight, has lost us."""
_REFUSED_FIRST_S = 5.0
_REFUSED_LONGEST_S = 300.0


@dataclass(frozen=True, slots=True)
class _InFlight:
    topic: str
    kind: Literal["letter", "repeat", "status", "reply", "clearing"]
    """A repeat is a letter that the broker had acknowledged before."""
    letter: Letter | None = None


@dataclass(slots=True)
class Progress:
    """What happened since the last look. `start_over`: send everything that waits once more."""

    start_over: bool = False
    acknowledged: list[int] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    """Topics on which the broker retains nothing any more."""


class Publisher:
    """One thread sends and looks; `wake` is called, in another, when there is news to look at.

    In that other thread `on_command` is called with each command, and must only take note; without
    it none is heard.
    """

    def __init__(
        self,
        broker: MqttConfig,
        topics: Topics,
        will: Callable[[], bytes],
        wake: Callable[[], None],
        on_command: Callable[[Arrived], None] | None = None,
    ) -> None:
        self._wake = wake
        self._on_command = on_command
        self._events: deque[Event] = deque()  # bounded by the window and the links' slow pace
        self._topics = topics
        self.connection = Connection(
            broker,
            topics.client_id,
            self._hear,
            will=lambda: (topics.status, will()),
            subscribe=Listen(topics.commands, on_command is not None),
        )
        self._link = 0
        self._window = 0
        self._in_flight: dict[int, _InFlight] = {}
        self._newest: dict[str, int] = {}
        self._unsaved = Unsaved()
        self._gone: frozenset[str] = frozenset()
        self._uncleared: set[str] = set()
        self._heard_at = 0.0
        self._refused_topics: set[str] = set()
        self._refused_delay_s = _REFUSED_FIRST_S
        self._retry_at: float | None = None

    @property
    def room(self) -> int:
        """How many letters may be sent now; one place is kept for the status, if there are two."""
        return max(0, max(1, self._window - 1) - len(self._in_flight)) if self._link else 0

    @property
    def busy(self) -> bool:
        """Whether anything at all is on its way."""
        return bool(self._in_flight)

    @property
    def repeating(self) -> bool:
        """Whether there are letters that a broker that is gone may not have saved."""
        return bool(self._unsaved.again)

    @property
    def in_flight(self) -> set[int]:
        """The seqs that are on their way."""
        return {sent.letter.seq for sent in self._in_flight.values() if sent.letter}

    def send(self, letter: Letter) -> bool:
        """Send one letter, or return False: not now."""
        return self._send(letter, "letter")

    def send_repeats(self) -> None:
        """Send what a broker that is gone may not have saved, as much of it as may be sent now."""
        again = self._unsaved.again
        while again and self.room and self._send(again[0], "repeat"):
            again.popleft()

    def send_status(self, payload: bytes) -> bool:
        """Send the status message, or return False: not now."""
        if len(self._in_flight) >= self._window:
            return False
        return self._publish(_InFlight(self._topics.status, "status"), payload, retain=True)

    def send_reply(self, reply: Reply) -> bool:
        """Send the answer to a command, or return False: not now."""
        if len(self._in_flight) >= self._window:
            return False
        what = _InFlight(reply.topic, "reply")
        return self._publish(what, reply.payload, correlation=reply.correlation)

    def clear(self, topics: Collection[str]) -> None:
        """Have the broker forget what we once left retained on these topics.

        What still waits to be sent there goes out unretained. `look` tells what was `cleared`.
        """
        self._gone = frozenset(topics)
        self._uncleared = set(topics)

    def send_clearing(self) -> None:
        """Send as much of what clears as may be sent now."""
        under_way = {sent.topic for sent in self._in_flight.values() if sent.kind == "clearing"}
        for topic in sorted(self._uncleared - under_way):
            if not self.room or not self._publish(_InFlight(topic, "clearing"), b"", retain=True):
                return

    def look(self) -> Progress:
        """Return what happened since the last look."""
        progress = Progress()
        while self._events:
            event = self._events.popleft()
            if isinstance(event, Up):
                self._forget_link()
                self._link, self._window = event.link, event.window
                self._heard_at = time.monotonic()
                progress.start_over = True
            elif isinstance(event, Down) and event.link == self._link:
                self._forget_link()
            elif isinstance(event, Acknowledged) and event.link == self._link:
                self._heard_at = time.monotonic()
                self._settle(event, progress)
        self._check_patience()
        if self._retry_at is not None and time.monotonic() >= self._retry_at:
            self._retry_at = None
            progress.start_over = True
        return progress

    def _forget_link(self) -> None:
        if self._link:
            repeats = [x.letter for x in self._in_flight.values() if x.kind == "repeat"]
            self._unsaved.connection_lost(letter for letter in repeats if letter)
        self._link = 0
        self._in_flight.clear()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Arrived):
            if self._on_command is not None:
                self._on_command(event)
            return
        self._events.append(event)
        self._wake()

    def _send(self, letter: Letter, kind: Literal["letter", "repeat"]) -> bool:
        # A late one must not replace what a newer one has left with the broker.
        late = letter.seq < self._newest.get(letter.topic, 0) or letter.topic in self._gone
        what = _InFlight(letter.topic, kind, letter)
        return self._publish(what, letter.payload, retain=letter.retain and not late)

    def _publish(
        self,
        what: _InFlight,
        payload: bytes,
        *,
        retain: bool = False,
        correlation: bytes | None = None,
    ) -> bool:
        connection = self.connection
        sent = connection.publish(what.topic, payload, retain=retain, correlation=correlation)
        if sent is None or sent[0] != self._link:  # the link's end or beginning is still to be seen
            return False
        if not self._in_flight:
            self._heard_at = time.monotonic()
        self._in_flight[sent[1]] = what
        return True

    def _settle(self, event: Acknowledged, progress: Progress) -> None:
        sent = self._in_flight.pop(event.mid, None)
        if sent is None:
            return
        if sent.kind == "clearing":
            self._uncleared.discard(sent.topic)
        if event.error is None:
            self._take_as_done(sent, progress)
        elif sent.kind in {"letter", "status"}:
            self._put_off(sent, event.error)
        else:
            what = f"{self.connection.where}: does not take a {sent.kind} on {sent.topic}"
            _log.error("%s: %s; correct the broker's access list", what, event.error)

    def _take_as_done(self, sent: _InFlight, progress: Progress) -> None:
        self._refused_topics.discard(sent.topic)
        if not self._refused_topics:
            self._refused_delay_s = _REFUSED_FIRST_S
        if sent.kind == "clearing":
            progress.cleared.append(sent.topic)
        if sent.letter is None:
            return
        self._unsaved.note(sent.letter)
        if sent.kind == "letter":
            progress.acknowledged.append(sent.letter.seq)
        self._newest[sent.topic] = max(sent.letter.seq, self._newest.get(sent.topic, 0))

    def _put_off(self, sent: _InFlight, error: str) -> None:
        self._refused_topics.add(sent.topic)
        if self._retry_at is not None:
            return  # said already; it goes out again with the others
        _log.error(
            "%s: does not take messages on %s: %s; correct the broker's access list or limits; "
            "they are kept, trying again in %.0f s",
            self.connection.where,
            sent.topic,
            error,
            self._refused_delay_s,
        )
        self._retry_at = time.monotonic() + self._refused_delay_s
        self._refused_delay_s = min(2 * self._refused_delay_s, _REFUSED_LONGEST_S)

    def _check_patience(self) -> None:
        if self._in_flight and time.monotonic() - self._heard_at > _PATIENCE_S:
            self._heard_at = time.monotonic()
            self.connection.drop(f"no acknowledgement for {_PATIENCE_S:.0f} s")
