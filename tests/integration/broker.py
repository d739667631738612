"""Real brokers and a real subscriber for the tests, on free ports of 127.0.0.1.

Used as fixtures: `from tests.integration.broker import Mosquitto` and the `mosquitto` fixture of
`tests/conftest.py`, which gives the binary's path or skips.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

DURABLE = (
    "persistence true",
    "max_queued_messages 0",
    "max_queued_bytes 0",
    "autosave_interval 1",
    "autosave_on_changes true",
)
"""What a broker needs so that an absent subscriber misses nothing."""


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on.

    Outside the range from which connections get theirs, so that a broker that is restarted finds
    its port free, whatever else runs.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with contextlib.suppress(OSError), socket.socket() as sock:
            sock.bind(("127.0.0.1", port))
            return port


def wait_until(true: Callable[[], object], timeout_s: float = 15.0, what: str = "") -> None:
    """Wait until `true()`, or fail."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise AssertionError(f"not within {timeout_s} s: {what or true}")
        time.sleep(0.01)


class Mosquitto:
    """The real broker, with these configuration lines; a context manager that leaves none behind.

    Without a `listener` line it listens, without TLS, on `port`, and lets everybody in unless
    `allow_anonymous false` is given.
    """

    def __init__(self, binary: str, folder: Path, lines: Iterable[str] = ()) -> None:
        self.port = free_port()
        self._binary = binary
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.log = folder / "mosquitto.log"
        lines = [line.format(port=self.port, folder=folder) for line in lines]
        if not any(line.startswith("listener") for line in lines):
            lines.insert(0, f"listener {self.port} 127.0.0.1")
        if not any(line.startswith("allow_anonymous") for line in lines):
            lines.append("allow_anonymous true")
        user = ["user root"] if os.getuid() == 0 else []
        config = [*lines, f"persistence_location {folder}/", "set_tcp_nodelay true", *user]
        (folder / "mosquitto.conf").write_text("\n".join(config) + "\n", encoding="utf-8")

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.resume()
            self.kill()

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [self._binary, "-c", str(self._folder / "mosquitto.conf")]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_until(self._listens, what=f"mosquitto listens; see {self.log}")

    def kill(self) -> None:
        """End it at once, without any good-bye."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in good order; it saves what it holds."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Stop it without closing anything: what a dead network looks like."""
        os.kill(self._running().pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after `pause`."""
        os.kill(self._running().pid, signal.SIGCONT)

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def _end(self, how: signal.Signals) -> None:
        process = self._running()
        process.send_signal(how)
        process.wait(timeout=10)
        self._process = None

    def _listens(self) -> bool:
        assert self._running().poll() is None, self.log.read_text(encoding="utf-8")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Amqtt:
    """The pure-Python broker of the demo, which knows MQTT 3.1.1 only."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._config = folder / "amqtt.yaml"
        plugin = "amqtt.plugins.authentication.AnonymousAuthPlugin"
        self._config.write_text(
            f"listeners: {{default: {{type: tcp, bind: '127.0.0.1:{self.port}'}}}}\n"
            f"plugins: {{{plugin}: {{allow_anonymous: true}}}}\n",
            encoding="utf-8",
        )

    def __enter__(self):
        command = [sys.executable, "-m", "amqtt.scripts.broker_script", "-c", str(self._config)]
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(self._listens, 30, "amqtt listens")
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(timeout=10)

    def _listens(self) -> bool:
        assert self._process.poll() is None
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False


class Subscriber:
    """A subscriber with a session that outlives its connections and the broker's restarts.

    `received` holds (topic, payload) of everything that came, duplicates too; `cleared` the topics
    on which an empty message came. `old`: in MQTT 3.1.1, and without a session.
    """

    def __init__(
        self, port: int, topic: str = "#", name: str = "subscriber", *, old: bool = False
    ) -> None:
        self.received: list[tuple[str, dict[str, object]]] = []
        self.cleared: list[str] = []
        self._subscribed = threading.Event()
        self._port = port
        self._old = old
        version = MQTTProtocolVersion.MQTTv311 if old else MQTTProtocolVersion.MQTTv5
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, protocol=version)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take

    def __enter__(self):
        if self._old:
            self._client.connect("127.0.0.1", self._port)
        else:
            session = Properties(PacketTypes.CONNECT)
            session.SessionExpiryInterval = 3600
            self._client.connect("127.0.0.1", self._port, clean_start=False, properties=session)
        self._client.loop_start()
        assert self._subscribed.wait(10), "subscribed"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def of(self, schema: str) -> list[dict[str, object]]:
        """Return what came of one kind, `state`, `detections`, ..."""
        wanted = f"aisle-edge/{schema}/1"
        return [body for _, body in list(self.received) if body.get("schema") == wanted]

    def seqs(self) -> set[int]:
        """Return every seq that came."""
        return {int(str(body["seq"])) for _, body in list(self.received) if "seq" in body}

    def _take(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        if message.payload:
            self.received.append((message.topic, json.loads(message.payload)))
        else:
            self.cleared.append(message.topic)

    def publish(self, topic: str, payload: bytes) -> None:
        """Publish something, without any properties."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)


class Asker:
    """Sends commands to one device in MQTT 5 and holds what is answered, by correlation data."""

    def __init__(self, port: int, base: str, name: str = "asker") -> None:
        self.answers: dict[bytes, list[dict[str, object]]] = {}
        self._base = base
        self._answer_topic = f"answers/{name}"
        self._port = port
        self._asked = 0
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=name, protocol=MQTTProtocolVersion.MQTTv5
        )
        self._status: str | None = None
        wanted = [(self._answer_topic, 1), (f"{base}/status", 1)]
        self._client.on_connect = lambda client, *_: client.subscribe(wanted)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._take

    def __enter__(self):
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        assert self._subscribed.wait(10), "subscribed"
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def wait_for_the_device(self, status: str = "online") -> None:
        """Wait until it is there, and so hears commands, or is not."""
        wait_until(lambda: self._status == status, 20, f"{self._base} is {status}")

    def send(
        self,
        name: str,
        payload: object = None,
        *,
        retain: bool = False,
        expiry_s: int | None = None,
        response_topic: str | None = None,
        correlation: bytes | None = None,
    ) -> bytes:
        """Publish a command; return its correlation data."""
        self._asked += 1
        correlation = correlation or f"{self._answer_topic}-{self._asked}".encode()
        properties = Properties(PacketTypes.PUBLISH)
        properties.ResponseTopic = response_topic or self._answer_topic
        properties.CorrelationData = correlation
        if expiry_s is not None:
            properties.MessageExpiryInterval = expiry_s
        body = payload if isinstance(payload, bytes) else json.dumps(payload or {}).encode()
        topic = f"{self._base}/commands/{name}"
        sent = self._client.publish(topic, body, 1, retain, properties)
        sent.wait_for_publish(10)
        return correlation

    def ask(self, name: str, payload: object = None, **how: object) -> dict[str, object]:
        """Publish a command and return the answer."""
        correlation = self.send(name, payload, **how)
        wait_until(lambda: self.answers.get(correlation), 20, f"an answer to {name}")
        return self.answers[correlation][0]

    def _take(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        body = json.loads(message.payload)
        if message.topic == self._answer_topic:
            self.answers.setdefault(message.properties.CorrelationData, []).append(body)
        else:
            self._status = body["status"]
