"""The command thread: takes what is asked over MQTT, one thing after the other, and answers it."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict, deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.config_problems import printable
from edge.errors import EdgeError
from edge.reporting.commands import CommandError, id_of, read_request
from edge.reporting.compose import Asked

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.reporting.commands import Request
    from edge.reporting.compose import Composer, Reply
    from edge.reporting.link import Arrived
    from edge.reporting.reporter import Reporter

log = logging.getLogger(__name__)

WAITING_MOST = 8
PACE_S = 0.1
"""Between two commands: ten a second are carried out, and what exceeds that is told `busy`."""
SAME_S = 300.0
"""For so long a request with an id that was answered is answered again, not carried out again."""
_SAME_MOST = 16
_REMIND_S = 10.0
_LONGEST_TOPIC = 512
_LONGEST_CORRELATION = 1024
_NAME_MOST = 256

Key = tuple[str, str, str, bytes | None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    asked: Asked
    payload: bytes
    until_s: float | None
    """Monotonic time from which nobody wants it any more."""


class CommandThread(threading.Thread):
    """Hears commands in the connection's thread (`take`), carries them out in its own.

    `carry_out` returns a result, as `edge.reporting.replies` describes it, or raises an `EdgeError`
    for who asked. Bounded: what comes while `WAITING_MOST` wait is answered with `busy`.
    """

    def __init__(self, composer: Composer, carry_out: Callable[[Request], dict[str, Any]]) -> None:
        super().__init__(name="commands", daemon=True)
        self._composer = composer
        self._carry_out = carry_out
        self._reporter: Reporter | None = None
        self._changed = threading.Condition()
        self._waiting: deque[_Waiting] = deque()
        self._stopping = threading.Event()
        self._answered: OrderedDict[Key, tuple[float, Reply]] = OrderedDict()
        self._shed = 0
        self._said_at: dict[str, float] = {}

    def answer_through(self, reporter: Reporter) -> None:
        """Begin; the answers go out through this reporter."""
        self._reporter = reporter
        self.start()

    def ask_to_stop(self) -> None:
        """Have it end as soon as it can; returns at once."""
        self._stopping.set()
        with self._changed:
            self._changed.notify()

    def stop(self, timeout_s: float) -> bool:
        """End, and wait at most `timeout_s`; return whether it has ended."""
        self.ask_to_stop()
        if self.is_alive():
            self.join(timeout_s)
        return not self.is_alive()

    def take(self, arrived: Arrived) -> None:
        """Take note of a command, or of why it is not carried out; never waits."""
        if arrived.retained:
            what = f"{printable(arrived.topic)}: a retained command is ignored; send it unretained"
            self._say("retained", what)
            return
        try:
            asked = _asked(arrived, self._composer)
        except CommandError as error:
            self._say("topic", str(error))
            return
        until_s = None if arrived.expires_s is None else time.monotonic() + arrived.expires_s
        with self._changed:
            full = len(self._waiting) >= WAITING_MOST or self._stopping.is_set()
            if not full:
                self._waiting.append(_Waiting(asked, arrived.payload, until_s))
                self._changed.notify()
        if full:
            self._shed += 1
            self._say("busy", f"{self._shed} commands were shed so far: more than can be done")
            self._answer(asked, CommandError("busy", "ask again in a second"))

    def run(self) -> None:
        """Carry out one command after the other until told to stop."""
        while (waiting := self._next()) is not None:
            try:
                self._do(waiting)
            except Exception:
                log.exception("command %s", waiting.asked.command)
                failed = CommandError("it failed on the device", "the device's log has the trace")
                self._answer(waiting.asked, failed)
            self._stopping.wait(PACE_S)
        for waiting in tuple(self._waiting):
            again = CommandError("the device stops or reloads", "ask again in a few seconds")
            self._answer(waiting.asked, again)

    def _next(self) -> _Waiting | None:
        with self._changed:
            while not self._waiting and not self._stopping.is_set():
                self._changed.wait(1.0)
            return None if self._stopping.is_set() else self._waiting.popleft()

    def _do(self, waiting: _Waiting) -> None:
        asked = waiting.asked
        if waiting.until_s is not None and time.monotonic() > waiting.until_s:
            log.info("command %s: expired while it waited, not carried out", asked.command)
            return
        if (before := self._before(asked)) is not None:
            log.info("command %s: asked before, answered again", asked.command)
            self._send(before)
            return
        try:
            answer: dict[str, Any] | EdgeError = self._carry_out(
                read_request(asked.command, waiting.payload)
            )
            log.info("command %s: done", asked.command)
        except EdgeError as error:
            answer = error
            log.warning("command %s: refused: %s", asked.command, error)
        reply = self._answer(asked, answer)
        if asked.request is not None:
            self._answered[_key(asked)] = (time.monotonic(), reply)
            while len(self._answered) > _SAME_MOST:
                self._answered.popitem(last=False)

    def _before(self, asked: Asked) -> Reply | None:
        when, reply = self._answered.get(_key(asked), (float("-inf"), None))
        return reply if time.monotonic() - when < SAME_S else None

    def _answer(self, asked: Asked, answer: dict[str, Any] | EdgeError) -> Reply:
        reply = self._composer.reply(asked, answer)
        largest = self._reporter.largest if self._reporter else None
        room = len(asked.topic) + len(asked.correlation or b"") + 64
        if largest is not None and len(reply.payload) + room > largest:
            what = f"the answer has {len(reply.payload)} bytes, the broker takes {largest}"
            reply = self._composer.reply(asked, CommandError(what, "raise the broker's limit"))
        self._send(reply)
        return reply

    def _send(self, reply: Reply) -> None:
        if self._reporter is None or not self._reporter.reply(reply):
            self._say("unanswered", f"{reply.topic}: too many answers wait, this one is dropped")

    def _say(self, kind: str, what: str) -> None:
        """Log a warning, at most one of its kind every ten seconds."""
        now = time.monotonic()
        if now - self._said_at.get(kind, float("-inf")) >= _REMIND_S:
            self._said_at[kind] = now
            log.warning("commands: %s", what)


def _key(asked: Asked) -> Key:
    return asked.command, asked.request or "", asked.topic, asked.correlation


def _asked(arrived: Arrived, composer: Composer) -> Asked:
    """Return who asks what; raises `CommandError` when the answer could go nowhere."""
    topics = composer.topics
    name = arrived.topic.removeprefix(topics.command(""))
    wanted = arrived.response_topic
    if wanted is not None and not answerable(wanted, topics.prefix):
        raise CommandError(
            f"{printable(name)}: cannot answer on {printable(wanted)}",
            f"a response topic below {topics.prefix}/ ends with /response, and has no + or #",
        )
    correlation = arrived.correlation
    if correlation is not None and len(correlation) > _LONGEST_CORRELATION:
        raise CommandError(f"{printable(name)}: {len(correlation)} bytes of correlation data")
    topic = wanted or topics.response(name)
    return Asked(name[:_NAME_MOST] or "?", topic, id_of(arrived.payload), correlation)


def answerable(topic: str, prefix: str) -> bool:
    """Return whether an answer may go there: who asks must not make us speak as a device does."""
    usable = 0 < len(topic) <= _LONGEST_TOPIC and not set("+#\0") & set(topic)
    ours = topic.startswith(f"{prefix}/")
    return usable and not topic.startswith("$") and (not ours or topic.endswith("/response"))
