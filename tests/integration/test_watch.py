"""`edge watch` as a person or a pipe uses it, at a real broker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import paho.mqtt.publish as paho_publish
import pytest

from edge.cli import main
from tests.integration.broker import Amqtt, Mosquitto, free_port, wait_until
from tests.integration.test_reporting_delivery import reporting
from tests.unit.test_watch_board import state

ROOT = os.fspath(__file__).rsplit("/tests/", 1)[0]
TOPIC = "aisle-edge/north/a07/aisles/07/state"


@pytest.fixture
def broker(mosquitto, tmp_path):
    with Mosquitto(mosquitto, tmp_path) as running:
        yield running


def command(port, *options):
    return [sys.executable, "-m", "edge", "watch", "--port", str(port), *options]


@contextmanager
def watching(port, *options):
    process = subprocess.Popen(
        command(port, *options),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def retain(port, topic, payload):
    paho_publish.single(topic, payload, qos=1, retain=True, hostname="127.0.0.1", port=port)


def test_json_lines_come_at_once_and_hold_the_message(broker, tmp_path):
    retain(broker.port, TOPIC, state().payload(1))
    with watching(broker.port, "--json") as process, reporting(broker.port, tmp_path) as (one, _):
        line = json.loads(process.stdout.readline())
        assert (line["topic"], line["retained"]) == (TOPIC, True)
        assert line["payload"]["counts"] == {"box": 3}

        wait_until(lambda: one.health().connected)
        line = json.loads(process.stdout.readline())
        assert line["payload"]["status"] == "online"


@pytest.mark.parametrize("payload", [b"garbage \x1b[2J", b"\xff\xff", b"[" * 100_000, b"NaN"])
def test_json_says_what_it_could_not_read_in_plain_ascii(broker, payload):
    retain(broker.port, "aisle-edge/north/a07/status", payload)
    with watching(broker.port, "--json") as process:
        text = process.stdout.readline()

        assert "unreadable" in json.loads(text)
        assert text.isascii()
        assert "\x1b" not in text


def test_json_ends_quietly_when_the_reader_has_had_enough(broker):
    for aisle in range(5):
        retain(broker.port, f"aisle-edge/north/a07/aisles/{aisle}/state", state().payload(1))
    words = " ".join(command(broker.port, "--json"))
    shell = f"{words} | head -n 1; exit ${{PIPESTATUS[0]}}"
    with subprocess.Popen(
        ["bash", "-c", shell], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        time.sleep(2)
        for _ in range(3):
            retain(broker.port, TOPIC, state().payload(2))
            time.sleep(0.3)
        out, err = process.communicate(timeout=15)

    assert (process.returncode, out.count(b"\n"), err) == (0, 1, b"")


def test_ctrl_c_ends_json_without_a_traceback(broker):
    retain(broker.port, TOPIC, state().payload(1))
    with watching(broker.port, "--json") as process:
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=10)

    assert (process.returncode, err) == (130, "")


def test_once_prints_the_table_and_ends(broker):
    retain(broker.port, TOPIC, state().payload(1))
    done = subprocess.run(
        command(broker.port, "--once"),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )

    assert "3 box (0.50)" in done.stdout
    assert "MQTT 5" in done.stdout


@pytest.mark.needs("amqtt")
def test_a_broker_without_mqtt_5_can_be_watched(tmp_path):
    with Amqtt(tmp_path) as broker:
        done = subprocess.run(
            command(broker.port, "--once"),
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )

    assert "MQTT 3.1.1" in done.stdout


def test_a_broker_that_is_not_there_is_one_line_with_the_next_step():
    done = subprocess.run(
        command(free_port()), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "nothing listens there; start the broker, or correct" in done.stderr


def test_a_broker_that_refuses_is_one_line_with_the_next_step(mosquitto, tmp_path):
    with Mosquitto(mosquitto, tmp_path, ["allow_anonymous false"]) as broker:
        done = subprocess.run(
            command(broker.port), cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
        )

    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "refused the connection" in done.stderr


def test_options_that_contradict_each_other_are_refused(tmp_path):
    done = subprocess.run(
        command(1, "--config", str(tmp_path / "x.yaml")),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )

    assert done.returncode == 2
    assert "leave out --port" in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--host", "broker:1883", "--host: expected a host name or address alone: no mqtt://"),
        ("--prefix", "a/#", "--prefix: expected topic levels joined by /"),
        ("--site", "#", "--site: expected a name that can be one level of an MQTT topic"),
    ],
)
def test_an_option_that_nothing_can_match_is_refused(capsys, option, value, said):
    try:
        status = main(["watch", option, value])
    except SystemExit as ended:
        status = ended.code

    assert status == 2
    assert said in capsys.readouterr().err


@pytest.mark.needs("tmux")
class TestTerminal:
    @pytest.fixture
    def terminal(self, broker, tmp_path):
        tmux = [shutil.which("tmux"), "-S", str(tmp_path / "tmux")]

        def do(*words):
            done = subprocess.run(
                [*tmux, *words], cwd=ROOT, capture_output=True, text=True, timeout=10, check=True
            )
            return done.stdout

        shell = " ".join([*command(broker.port), "; echo ended with $?; sleep 60"])
        do("new-session", "-d", "-x", "80", "-y", "24", shell)
        yield do
        subprocess.run([*tmux, "kill-server"], capture_output=True, timeout=10, check=False)

    def test_shows_changes_as_they_come_and_leaves_the_table_behind(self, broker, terminal):
        def shown(text):
            wait_until(lambda: text in terminal("capture-pane", "-p"), 15, text)

        shown("No aisle has been heard of yet")
        retain(broker.port, TOPIC, state().payload(1))
        shown("3 box (0.50)")
        broker.stop()
        shown("disconnected")
        broker.start()
        shown("MQTT 5")

        terminal("send-keys", "C-c")

        shown("ended with 0")
        shown("3 box (0.50)")
