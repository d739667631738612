"""The command thread: one after the other, each once, none for ever, and never in the way."""

from __future__ import annotations

import json
import threading
import time

import pytest

from edge.errors import ConfigError
from edge.reporting.compose import Composer
from edge.reporting.link import Arrived
from edge.reporting.topics import Topics
from edge.service import commands as module
from edge.service.commands import WAITING_MOST, CommandThread, answerable

COMPOSER = Composer(Topics("aisle-edge", "north", "a07"), ())
BASE = "aisle-edge/north/a07"


def command(name="reload", payload=b"{}", retained=False, **given):
    given = {"response_topic": "answers/me", "correlation": b"1"} | given
    return Arrived(f"{BASE}/commands/{name}", payload, retained, **given)


class Answers:
    """Stands in for the reporter: takes the answers."""

    def __init__(self):
        self.replies = []
        self.largest = None

    def reply(self, reply):
        self.replies.append(reply)
        return True

    def of(self, key):
        return [json.loads(reply.payload)[key] for reply in list(self.replies)]


@pytest.fixture
def answers():
    return Answers()


@pytest.fixture
def thread_for(answers, monkeypatch):
    """Return a function that starts a thread which carries commands out by a function."""
    monkeypatch.setattr(module, "PACE_S", 0.0)
    started = []

    def start(carry_out):
        thread = CommandThread(COMPOSER, carry_out)
        thread.answer_through(answers)
        started.append(thread)
        return thread

    yield start
    for thread in started:
        assert thread.stop(2)


def wait_until(true, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "in time"
        time.sleep(0.005)


def test_an_answer_goes_where_it_is_wanted_with_what_it_is_known_by(thread_for, answers):
    thread_for(lambda _: {"done": 1}).take(command(payload=b'{"id": "x"}', correlation=b"\0\xff"))

    wait_until(lambda: answers.replies)
    (reply,) = answers.replies
    assert (reply.topic, reply.correlation) == ("answers/me", b"\0\xff")
    body = json.loads(reply.payload)
    assert (body["command"], body["request"], body["ok"]) == ("reload", "x", True)
    assert body["result"] == {"done": 1}


def test_without_a_response_topic_it_goes_beside_the_command(thread_for, answers):
    thread_for(dict).take(Arrived(f"{BASE}/commands/reload", b"", retained=False))

    wait_until(lambda: answers.replies)
    assert answers.replies[0].topic == f"{BASE}/commands/reload/response"


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (ConfigError(["f:1: a", "f:2: b"]), "f:1: a | f:2: b"),
        (RuntimeError("a mistake of ours"), "it failed on the device; the device's log has the"),
    ],
)
def test_what_goes_wrong_is_one_line_and_the_next_command_is_carried_out(
    thread_for, answers, raised, said
):
    todo = [raised, None]

    def carry_out(_):
        if (error := todo.pop(0)) is not None:
            raise error
        return {}

    thread = thread_for(carry_out)
    thread.take(command())
    thread.take(command())

    wait_until(lambda: len(answers.replies) == 2)
    assert answers.of("error")[0].startswith(said)
    assert answers.of("ok") == [False, True]


class TestBounds:
    def test_more_than_can_wait_are_told_so_at_once(self, thread_for, answers, caplog):
        go = threading.Event()
        thread = thread_for(lambda _: {"went": go.wait(5)})
        thread.take(command())
        wait_until(lambda: not thread._waiting)

        for _ in range(WAITING_MOST + 30):
            thread.take(command())

        assert answers.of("error") == ["busy; ask again in a second"] * 30
        go.set()
        wait_until(lambda: answers.of("ok").count(True) == WAITING_MOST + 1)
        said = [r.message for r in caplog.records if "shed" in r.message]
        assert len(said) == 1, "a flood does not flood the log"

    def test_take_never_waits_for_a_command_that_is_carried_out(self, thread_for):
        go = threading.Event()
        thread = thread_for(lambda _: {"went": go.wait(5)})

        began = time.monotonic()
        for _ in range(1000):
            thread.take(command())

        assert time.monotonic() - began < 1
        go.set()

    def test_an_answer_that_the_broker_would_not_take_says_so_instead(self, thread_for, answers):
        answers.largest = 2000

        thread_for(lambda _: {"much": "x" * 5000}).take(command())

        wait_until(lambda: answers.replies)
        assert len(answers.replies[0].payload) < 2000
        assert "the broker takes 2000" in answers.of("error")[0]

    def test_too_much_correlation_data_is_not_kept(self, thread_for, answers, caplog):
        thread_for(dict).take(command(correlation=b"x" * 5000))

        assert "5000 bytes of correlation data" in caplog.text
        assert answers.replies == []

    def test_what_waits_at_the_end_is_answered(self, thread_for, answers):
        go = threading.Event()
        thread = thread_for(lambda _: {"went": go.wait(5)})
        thread.take(command())
        wait_until(lambda: not thread._waiting)
        thread.take(command())
        thread.ask_to_stop()
        go.set()

        wait_until(lambda: len(answers.replies) == 2)
        assert answers.of("error")[1] == ("the device stops or reloads; ask again in a few seconds")


class TestOnce:
    @pytest.fixture
    def done(self):
        return []

    def take(self, thread_for, answers, done, *commands):
        thread = thread_for(lambda request: done.append(request) or {"number": len(done)})
        for one in commands:
            thread.take(one)
        wait_until(lambda: len(answers.replies) == len(commands))

    def test_the_same_request_is_answered_again_in_the_same_bytes(self, thread_for, answers, done):
        twice = command(payload=b'{"id": "7"}')

        self.take(thread_for, answers, done, twice, twice)

        assert len(done) == 1
        assert answers.replies[0] == answers.replies[1]

    @pytest.mark.parametrize(
        "other",
        [
            command(payload=b'{"id": "8"}'),
            command(payload=b'{"id": "7"}', response_topic="answers/you"),
            command(payload=b'{"id": "7"}', correlation=b"2"),
            command("self-test", payload=b'{"id": "7"}'),
        ],
    )
    def test_another_one_is_carried_out(self, thread_for, answers, done, other):
        self.take(thread_for, answers, done, command(payload=b'{"id": "7"}'), other)

        assert len(done) == 2

    def test_one_without_an_id_is_always_carried_out(self, thread_for, answers, done):
        self.take(thread_for, answers, done, command(), command())

        assert len(done) == 2

    def test_after_a_while_the_same_id_is_another_request(
        self, thread_for, answers, done, monkeypatch
    ):
        monkeypatch.setattr(module, "SAME_S", 0.0)
        twice = command(payload=b'{"id": "7"}')

        self.take(thread_for, answers, done, twice, twice)

        assert len(done) == 2

    def test_one_that_expired_in_the_queue_is_not_carried_out(self, thread_for, answers, done):
        expired = command("self-test", expires_s=0)

        thread = thread_for(lambda request: done.append(request) or {})
        thread.take(expired)
        thread.take(command(expires_s=60))

        wait_until(lambda: answers.replies)
        assert answers.of("command") == ["reload"]

    def test_a_retained_one_is_not_carried_out_and_said_once(
        self, thread_for, answers, done, caplog
    ):
        thread = thread_for(lambda request: done.append(request) or {})
        for _ in range(5):
            thread.take(command(retained=True))
        thread.take(command())

        wait_until(lambda: answers.replies)
        assert len(done) == 1
        assert len([r for r in caplog.records if "retained command" in r.message]) == 1


@pytest.mark.parametrize(
    ("topic", "may"),
    [
        ("answers/me", True),
        ("aisle-edge", True),
        ("aisle-edge/north/dashboard/response", True),
        (f"{BASE}/commands/reload/response", True),
        ("aisle-edge-replies/a", True),
        (f"{BASE}/aisles/07/state", False),
        (f"{BASE}/commands/reload", False),
        ("aisle-edge/south/other/commands/reload", False),
        ("", False),
        ("answers/+", False),
        ("answers/#", False),
        ("$SYS/broker", False),
        ("a\0b", False),
        ("x" * 513, False),
    ],
)
def test_an_answer_may_go_to_no_topic_that_a_device_speaks_or_listens_on(topic, may):
    assert answerable(topic, "aisle-edge") is may
