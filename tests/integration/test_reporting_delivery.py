"""A subscriber with a persistent session gets every message, whatever happens to whom."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from edge.config import MqttConfig, OutboxConfig
from edge.reporting import publisher
from edge.reporting.compose import Composer, Outgoing, Service
from edge.reporting.reporter import Reporter
from edge.reporting.topics import Topics
from tests.integration.broker import DURABLE, Amqtt, Mosquitto, Subscriber, wait_until

pytestmark = pytest.mark.usefixtures("quick_reconnect")

TOPICS = Topics("aisle-edge", "north", "a07")

PUBLISHER = """
import sys, time
from pathlib import Path
from edge.config import MqttConfig, OutboxConfig
from edge.reporting.compose import Composer, Service
from edge.reporting.reporter import Reporter
from edge.reporting.topics import Topics
sys.path.insert(0, sys.argv[1])
from tests.integration.test_reporting_delivery import messages
composer = Composer(Topics("aisle-edge", "north", "a07"), ())
reporter = Reporter(
    OutboxConfig(path=Path(sys.argv[2])), MqttConfig(host="127.0.0.1", port=int(sys.argv[3])),
    composer, Service(),
)
reporter.start()
for message in messages(composer, int(sys.argv[4])):
    reporter.submit(message)
    time.sleep(0.004)
sys.exit(0 if reporter.stop(10) and reporter.health().backlog == 0 else 1)
"""


def messages(composer, count):
    """Make detections of one aisle, some 1.5 KB each, and now and then its state."""
    for number in range(count):
        kind = "state" if number % 10 == 0 else "detections"
        body = composer._header(kind) | {"aisle": "07", "filling": "x" * 1200}
        yield Outgoing(kind, f"{TOPICS.base}/aisles/07/{kind}", kind == "state", body)


@contextmanager
def reporting(port, path, **mqtt):
    composer = Composer(TOPICS, ())
    reporter = Reporter(
        OutboxConfig(path=path / "outbox.db"),
        MqttConfig(host="127.0.0.1", port=port, **mqtt),
        composer,
        Service("shelf 1", "onnxruntime"),
    )
    reporter.start()
    try:
        yield reporter, composer
    finally:
        assert reporter.stop(5), "the report thread ended"


def submit(reporter, composer, count, pause_s=0.0):
    for message in messages(composer, count):
        reporter.submit(message)
        time.sleep(pause_s)


def assert_every_seq_came(subscriber, count):
    wait_until(lambda: len(subscriber.seqs()) >= count, 60, f"{count} messages came")
    got = subscriber.seqs()
    assert got == set(range(min(got), min(got) + count))
    ids = {body["id"]: body["seq"] for _, body in subscriber.received if "seq" in body}
    assert len(ids) == count, "a duplicate has the id it had the first time"


def test_everything_comes_once_and_in_order(broker, tmp_path):
    with Subscriber(broker.port) as subscriber, reporting(broker.port, tmp_path) as (one, composer):
        submit(one, composer, 300)

        assert_every_seq_came(subscriber, 300)
        order = [body["seq"] for _, body in subscriber.received if "seq" in body]
        assert order == sorted(order)
        assert len(order) == 300
        wait_until(lambda: one.health().backlog == 0)
        assert one.health().acknowledged == 300


def test_a_broker_that_takes_one_message_at_a_time_gets_all_of_them(mosquitto, tmp_path):
    one_at_a_time = (*DURABLE, "max_inflight_messages 1")
    with (
        Mosquitto(mosquitto, tmp_path, one_at_a_time) as broker,
        Subscriber(broker.port) as subscriber,
        Subscriber(broker.port, "#", "last") as last,
    ):
        with reporting(broker.port, tmp_path) as (one, composer):
            submit(one, composer, 60)
            assert_every_seq_came(subscriber, 60)
        wait_until(lambda: last.of("status") and last.of("status")[-1]["status"] == "offline")


def test_a_broker_that_is_restarted_costs_nothing(broker, tmp_path):
    with Subscriber(broker.port) as subscriber, reporting(broker.port, tmp_path) as (one, composer):
        for _ in range(2):
            submit(one, composer, 60, pause_s=0.002)
            broker.stop()
            submit(one, composer, 60, pause_s=0.002)
            broker.start()
            wait_until(lambda: one.health().connected, 20, "connected again")

        assert_every_seq_came(subscriber, 240)


def test_a_broker_that_is_killed_costs_nothing(broker, tmp_path):
    with Subscriber(broker.port) as subscriber, reporting(broker.port, tmp_path) as (one, composer):
        submit(one, composer, 100, pause_s=0.002)
        broker.kill()
        submit(one, composer, 100, pause_s=0.002)
        broker.start()

        assert_every_seq_came(subscriber, 200)


def test_what_a_killed_broker_had_acknowledged_and_not_saved_is_sent_again(broker, tmp_path):
    with Subscriber(broker.port):
        pass  # its session remains: what it misses is in the broker's memory, then on its disk
    kills, count = 6, 50
    with reporting(broker.port, tmp_path) as (one, composer):
        for _ in range(kills):
            submit(one, composer, count, pause_s=0.002)
            broker.kill()
            wait_until(lambda: not one.health().connected)
            broker.start()
            wait_until(lambda: one.health().connected, 20, "connected again")
        wait_until(lambda: one.health().backlog == 0)
        with Subscriber(broker.port) as subscriber:
            assert_every_seq_came(subscriber, kills * count)


def test_an_absent_subscriber_gets_what_it_missed(broker, tmp_path):
    with Subscriber(broker.port):
        pass
    with reporting(broker.port, tmp_path) as (one, composer):
        submit(one, composer, 250)
        wait_until(lambda: one.health().acknowledged == 250)

    with Subscriber(broker.port) as subscriber:
        assert_every_seq_came(subscriber, 250)


def test_a_network_that_stalls_costs_nothing_and_blocks_nothing(broker, tmp_path, monkeypatch):
    monkeypatch.setattr(publisher, "_PATIENCE_S", 2.0)
    with Subscriber(broker.port) as subscriber, reporting(broker.port, tmp_path) as (one, composer):
        submit(one, composer, 50)
        wait_until(lambda: one.health().acknowledged >= 50)
        broker.pause()

        began = time.monotonic()
        submit(one, composer, 200)
        assert time.monotonic() - began < 1, "nobody waits for the broker"
        wait_until(lambda: not one.health().connected, 10, "given up after the patience")
        assert time.monotonic() - one.health().last_progress_monotonic < 1, "it goes round"
        broker.resume()

        assert_every_seq_came(subscriber, 250)


def test_a_publisher_killed_twice_loses_nothing(broker, tmp_path):
    database = tmp_path / "outbox.db"
    root = os.fspath(__file__).rsplit("/tests/", 1)[0]

    def run(count):
        return subprocess.Popen(
            [sys.executable, "-c", PUBLISHER, root, database, str(broker.port), str(count)],
            cwd=root,
        )

    with Subscriber(broker.port) as subscriber:
        for want in (100, 200):
            process = run(10_000)
            try:
                wait_until(lambda want=want: len(subscriber.seqs()) >= want, 30)
            finally:
                process.send_signal(signal.SIGKILL)
                process.wait(timeout=10)
        assert run(100).wait(timeout=60) == 0, "the last run left nothing behind"

        wait_until(lambda: len({x["boot"] for x in subscriber.of("status")}) == 3)
        time.sleep(1)
        got = subscriber.seqs()
        assert got == set(range(min(got), max(got) + 1)), "no seq is missing"
        assert len(got) >= 300
        status = subscriber.of("status")[-1]
        assert status["status"] == "offline"
        first = next(x for x in subscriber.of("status") if x["status"] == "online")["first_seq"]
        assert min(got) == first
        by_seq = Counter(
            (body["seq"], body["id"]) for _, body in subscriber.received if "seq" in body
        )
        assert len(by_seq) == len(got), "one id to one seq"


@pytest.mark.needs("amqtt")
def test_a_broker_without_mqtt_5_is_spoken_to_in_3_1_1(tmp_path):
    with Amqtt(tmp_path) as broker, reporting(broker.port, tmp_path) as (one, composer):
        submit(one, composer, 50)

        wait_until(lambda: one.health().acknowledged == 50, 30)
        assert one.health().protocol == "MQTT 3.1.1"


class TestStatus:
    def test_is_online_and_retained_for_who_comes_later(self, broker, tmp_path):
        with reporting(broker.port, tmp_path) as (one, _):
            wait_until(lambda: one.health().connected)
            time.sleep(0.5)
            with Subscriber(broker.port, name="late") as late:
                wait_until(lambda: late.of("status"))
                assert late.of("status")[-1]["status"] == "online"

    def test_is_offline_with_the_reason_after_a_stop(self, broker, tmp_path):
        with Subscriber(broker.port) as subscriber:
            with reporting(broker.port, tmp_path) as (one, _):
                wait_until(lambda: subscriber.of("status"))
            wait_until(lambda: len(subscriber.of("status")) > 1)
            last = subscriber.of("status")[-1]
            assert (last["status"], last["reason"]) == ("offline", "stopped")
            assert one.health().failure is None

    def test_is_written_by_the_broker_when_the_device_dies(self, broker, tmp_path):
        root = os.fspath(__file__).rsplit("/tests/", 1)[0]
        command = [sys.executable, "-c", PUBLISHER, root, tmp_path / "outbox.db"]
        with Subscriber(broker.port) as subscriber:
            process = subprocess.Popen([*command, str(broker.port), "10000"], cwd=root)
            try:
                wait_until(lambda: subscriber.of("status"), 30)
            finally:
                process.kill()
                process.wait(timeout=10)
            wait_until(lambda: len(subscriber.of("status")) > 1)
            last = subscriber.of("status")[-1]
            assert (last["status"], last["reason"]) == ("offline", "connection_lost")


def test_stop_sends_what_waits_when_the_broker_is_there(broker, tmp_path):
    with Subscriber(broker.port) as subscriber:
        with reporting(broker.port, tmp_path) as (one, composer):
            wait_until(lambda: one.health().connected)
            submit(one, composer, 200)
        assert one.health().backlog == 0
        assert_every_seq_came(subscriber, 200)


def test_stop_keeps_what_waits_and_is_quick_when_the_broker_is_not(mosquitto, tmp_path):
    broker = Mosquitto(mosquitto, tmp_path, DURABLE)
    with reporting(broker.port, tmp_path) as (one, composer):
        submit(one, composer, 200)
        wait_until(lambda: one.health().backlog == 200)
        began = time.monotonic()
        assert one.stop(5)
        assert time.monotonic() - began < 2
    with broker, Subscriber(broker.port) as subscriber, reporting(broker.port, tmp_path):
        assert_every_seq_came(subscriber, 200)


def test_stop_keeps_to_its_time_when_the_network_stalls(broker, tmp_path):
    with reporting(broker.port, tmp_path) as (one, composer):
        wait_until(lambda: one.health().connected)
        broker.pause()
        submit(one, composer, 100)
        began = time.monotonic()

        assert one.stop(3)

        assert time.monotonic() - began < 3.2
        assert one.health().backlog == 100
        broker.resume()
