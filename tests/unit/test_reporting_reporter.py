"""The report thread: what it is asked for, and how it says that something is wrong."""

from __future__ import annotations

import json
import time

import pytest

from edge.config import MqttConfig, OutboxConfig
from edge.errors import BrokerRefused, OutboxError
from edge.reporting import publisher
from edge.reporting import reporter as module
from edge.reporting.compose import Composer, Outgoing, Reply, Service
from edge.reporting.reporter import Reporter
from edge.reporting.topics import Topics
from tests.fakes.connection import FakeConnection

COMPOSER = Composer(Topics("aisle-edge", "north", "a07"), ())


def message(kind="detections"):
    return Outgoing(kind, f"t/{kind}", kind == "state", {"schema": f"aisle-edge/{kind}/1"})


def wait_until(true, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, "in time"
        time.sleep(0.005)


@pytest.fixture
def make(monkeypatch, tmp_path):
    monkeypatch.setattr(publisher, "Connection", FakeConnection)
    made = []

    def make_one(step=None, path=tmp_path / "outbox.db", **more):
        broker, service = MqttConfig(host="broker"), Service("b 1")
        one = Reporter(OutboxConfig(path=path), broker, COMPOSER, service, step, **more)
        made.append(one)
        return one

    yield make_one
    for one in made:
        connection(one).up = False  # nobody is there to acknowledge the good-bye
        one.stop(2)


def connection(one):
    return one._publisher.connection


def sent(one):
    return [json.loads(payload) for _, _, payload, _ in connection(one).sent]


def test_a_submitted_message_is_kept_without_a_broker(make):
    one = make()
    one.start()

    one.submit(message())

    wait_until(lambda: one.health().backlog == 1)


def test_status_goes_first_at_every_connect(make):
    one = make()
    one.start()
    one.submit(message())
    for _ in range(2):
        connection(one).come_up()
        wait_until(lambda: len(connection(one).sent) == 2)
        assert [x["schema"] for x in sent(one)] == [
            "aisle-edge/status/1",
            "aisle-edge/detections/1",
        ]
        connection(one).go_down()


def test_a_status_that_was_refused_is_sent_again_with_the_letters(make, monkeypatch):
    monkeypatch.setattr(publisher, "_REFUSED_FIRST_S", 0.05)
    one = make()
    one.start()
    connection(one).come_up()
    wait_until(lambda: len(connection(one).sent) == 1)

    connection(one).acknowledge(1, error="Not authorized")

    wait_until(lambda: len(connection(one).sent) == 2)
    assert [x["schema"] for x in sent(one)] == ["aisle-edge/status/1"] * 2


def test_what_was_not_acknowledged_is_sent_again_with_the_same_seq_and_bytes(make):
    one = make()
    one.start()
    one.submit(message())
    connection(one).come_up()
    wait_until(lambda: len(connection(one).sent) == 2)
    before = connection(one).sent[1]
    connection(one).go_down()

    connection(one).come_up()

    wait_until(lambda: len(connection(one).sent) == 2)
    assert connection(one).sent[1] == before


def test_an_acknowledged_message_is_gone(make):
    one = make()
    one.start()
    one.submit(message())
    connection(one).come_up()
    wait_until(lambda: len(connection(one).sent) == 2)

    connection(one).acknowledge(2)

    wait_until(lambda: one.health().backlog == 0)
    assert one.health().acknowledged == 1


def test_no_more_than_the_window_is_in_flight(make):
    one = make()
    one.start()
    for _ in range(100):
        one.submit(message())
    connection(one).come_up(window=20)
    wait_until(lambda: one.health().backlog == 100 and len(connection(one).sent) >= 19)
    time.sleep(0.3)

    assert len(connection(one).sent) <= 20


class TestStep:
    def test_what_it_returns_goes_out(self, make):
        once = [[message("state")]]
        one = make(step=lambda: once.pop() if once else [])
        one.start()

        wait_until(lambda: one.health().backlog == 1)

    def test_is_called_at_least_four_times_a_second_and_not_without_end(self, make):
        calls = []
        one = make(step=lambda: calls.append(time.monotonic()) or [])
        one.start()
        time.sleep(1.1)

        assert 4 <= len(calls) <= 7

    def test_is_called_at_once_when_woken(self, make):
        calls = []
        one = make(step=lambda: calls.append(time.monotonic()) or [])
        one.start()
        wait_until(lambda: calls)
        time.sleep(0.05)
        count, woken_at = len(calls), time.monotonic()

        one.wake()

        wait_until(lambda: len(calls) > count)
        assert calls[count] - woken_at < 0.15

    def test_an_error_in_it_ends_the_thread_and_is_told(self, make, caplog):
        def broken():
            raise RuntimeError("a mistake of ours")

        one = make(step=broken)
        one.start()

        wait_until(lambda: one.health().failure)
        assert "a mistake of ours" in str(one.health().failure)
        assert "ended by an error" in caplog.text


class TestReply:
    def test_goes_out_past_the_outbox(self, make):
        one = make()
        one.start()
        connection(one).come_up()

        assert one.reply(Reply("answers/me", b'{"ok": true}'))

        wait_until(lambda: {"ok": True} in sent(one))
        assert one.health().backlog == 0

    def test_more_than_can_wait_are_not_taken(self, make):
        one = make()
        one.start()

        taken = [one.reply(Reply("answers/me", b"{}")) for _ in range(20)]

        assert taken == [True] * 16 + [False] * 4

    def test_waits_for_the_connection_and_goes_before_the_good_bye(self, make):
        one = make()
        one.start()
        connection(one).come_up()
        wait_until(lambda: connection(one).sent)
        one.reply(Reply("answers/me", b'{"schema": "reply", "status": ""}'))

        assert one.stop(2)

        assert [x["schema"] for x in sent(one)] == [
            "aisle-edge/status/1",
            "reply",
            "aisle-edge/status/1",
        ]


def test_what_an_earlier_configuration_left_is_cleared_once_the_broker_is_there(make, tmp_path):
    earlier = make()
    earlier.start()
    earlier.submit(message("state"))
    wait_until(lambda: earlier.health().backlog == 1)
    earlier.stop(2)
    one = make(keeps=frozenset({COMPOSER.topics.status}))
    one.start()
    connection(one).come_up()

    cleared = ("t/state", b"", True)
    wait_until(lambda: cleared in [x[1:] for x in connection(one).sent])
    (mid,) = [x[0] for x in connection(one).sent if x[1:] == cleared]
    connection(one).acknowledge(mid)
    wait_until(lambda: one._outbox.retained == {COMPOSER.topics.status})


def test_too_many_messages_at_once_are_shed_by_the_rule_and_owned_up(make, monkeypatch):
    monkeypatch.setattr(module, "_GAP_S", 0.0)
    monkeypatch.setattr(module, "_INTAKE_MOST", 10)
    one = make()
    for kind in ("state", *["detections"] * 30):
        one.submit(message(kind))
    one.start()
    connection(one).come_up()

    wait_until(lambda: one.health().shed == 21)
    wait_until(lambda: [x for x in sent(one) if x["schema"] == "aisle-edge/gap/1"])
    gap = next(x for x in sent(one) if x["schema"] == "aisle-edge/gap/1")
    assert (gap["count"], gap["ranges"]) == (21, [])
    assert sent(one)[1]["schema"] == "aisle-edge/state/1"


def test_a_reload_announces_what_is_in_service_now(make):
    one = make()
    one.start()
    connection(one).come_up()
    wait_until(lambda: connection(one).sent)

    one.announce(COMPOSER, Service("b 2"))

    wait_until(lambda: sent(one)[-1].get("bundle") == "b 2")


def test_stop_says_good_bye_last(make):
    one = make()
    one.start()
    connection(one).come_up()
    wait_until(lambda: connection(one).sent)

    assert one.stop(2)

    assert (sent(one)[-1]["status"], sent(one)[-1]["reason"]) == ("offline", "stopped")
    assert connection(one).stopped


def test_an_outbox_that_cannot_be_opened_is_raised_by_start(make, tmp_path):
    with pytest.raises(OutboxError, match="directory does not exist"):
        make(path=tmp_path / "none" / "outbox.db").start()


def test_a_broker_that_refuses_us_is_the_failure_that_the_service_sees(make):
    one = make()
    one.start()

    connection(one).refused = BrokerRefused("mqtt broker:1883: no", "check the password")

    assert one.health().failure is connection(one).refused
