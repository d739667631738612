"""`edge demo`: one command shows aisles from a bundle and a source, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING

import paho.mqtt.client as paho
import psutil
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from edge.cli import main
from tests.conftest import require_or_skip
from tests.quadrants import picture, write_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.needs("cv2", "onnxruntime", "onnx")

FIRST_STATE_S = 30
END_S = 15


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("models") / "quadrants")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Return a folder of pictures with an object on the left and none on the right."""
    import cv2

    folder = tmp_path_factory.mktemp("photos")
    rng = [picture(230, 20, 40, 20 + step, size_wh=(320, 240)) for step in range(8)]
    for number, image in enumerate(rng):
        cv2.imwrite(str(folder / f"{number}.png"), image)
    return folder


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def demo(bundle, photos, port, tmp_path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "edge", *arguments_of(bundle, photos, port)]
    yield from running(command, tmp_path)


_HIDE_MOSQUITTO = """
import shutil, sys
which = shutil.which
shutil.which = lambda name, **rest: None if name == "mosquitto" else which(name, **rest)
from edge.cli import main
sys.exit(main())
"""


@pytest.fixture
def demo_without_mosquitto(bundle, photos, port, tmp_path) -> Iterator[subprocess.Popen[str]]:
    require_or_skip("amqtt")
    command = [sys.executable, "-c", _HIDE_MOSQUITTO, *arguments_of(bundle, photos, port)]
    yield from running(command, tmp_path)


def arguments_of(bundle: Path, photos: Path, port: int) -> list[str]:
    source = f"images://{photos}?loop=1&fps=10"
    return ["demo", "--bundle", str(bundle), "--source", source, "--port", str(port)]


def running(command: list[str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command,
        env={**os.environ, "TMPDIR": str(tmp_path), "TERM": "xterm", "COLUMNS": "80"},
        stdout=(tmp_path / "screen").open("wb"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        left = descendants(process) if process.poll() is None else []
        for one in (process, *left):
            one.kill()
        process.wait()


def first_state(demo: subprocess.Popen[str], port: int, aisle: str) -> dict:
    """Return the first state of an aisle in which something was seen."""
    arrived: queue.Queue[dict] = queue.Queue()
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe("aisle-edge/demo/here/aisles/+/state")
    client.on_message = lambda _client, _data, message: arrived.put(json.loads(message.payload))
    client.connect_async("127.0.0.1", port)
    client.reconnect_delay_set(1, 1)
    client.loop_start()
    deadline = time.monotonic() + FIRST_STATE_S
    try:
        while time.monotonic() < deadline and demo.poll() is None:
            with contextlib.suppress(queue.Empty):
                state = arrived.get(timeout=0.5)
                if state["aisle"] == aisle and state["visibility"] == "seen" and state["counts"]:
                    return state
    finally:
        client.loop_stop()
    pytest.fail(f"aisle {aisle} not seen within {FIRST_STATE_S} s; demo's status {demo.poll()}")


def states_until(port: int, enough, timeout_s: float) -> dict[str, str]:
    """Return the aisles' newest visibility: once it is `enough`, or when time has run out."""
    latest: dict[str, str] = {}

    def on_message(_client, _data, message):
        state = json.loads(message.payload)
        latest[state["aisle"]] = ": ".join(filter(None, (state["visibility"], state.get("reason"))))

    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe("aisle-edge/demo/here/aisles/+/state")
    client.on_message = on_message
    client.connect_async("127.0.0.1", port)
    client.reconnect_delay_set(1, 1)
    client.loop_start()
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and not enough(dict(latest)):
        time.sleep(0.2)
    client.loop_stop()
    return dict(latest)


def descendants(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def still_running(processes: list[psutil.Process], timeout_s: float) -> list[psutil.Process]:
    _, alive = psutil.wait_procs(processes, timeout=timeout_s)
    return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_an_object_on_the_left_is_reported_in_the_left_aisle(demo, port):
    require_or_skip("mosquitto")

    assert first_state(demo, port, "01")["counts"] == {"box": 1}


def test_without_a_camera_shelves_are_drawn_and_the_one_that_goes_dark_is_unknown(
    bundle, port, tmp_path
):
    """The built-in detector is the real one; this one only has to look."""
    require_or_skip("mosquitto")
    command = [sys.executable, "-m", "edge", "demo", "--bundle", str(bundle), "--port", str(port)]
    for _ in running(command, tmp_path):
        latest = states_until(port, lambda states: states.get("09") == "unknown: dark", 60)

    assert latest == {"07": "seen", "08": "seen", "09": "unknown: dark"}


def test_without_mosquitto_the_broker_is_pure_python(demo_without_mosquitto, port):
    assert first_state(demo_without_mosquitto, port, "01")["counts"] == {"box": 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_it_all_and_leaves_nothing_behind(demo, port, tmp_path, number):
    first_state(demo, port, "01")
    started = descendants(demo)

    demo.send_signal(number)

    assert demo.wait(END_S) == 0
    assert len(started) >= 3
    assert still_running(started, 1) == []
    assert list(tmp_path.glob("aisle-edge-demo-*")) == []


def test_its_programs_end_even_if_it_is_killed(demo, port):
    require_or_skip("setpriv")
    first_state(demo, port, "01")
    started = descendants(demo)

    demo.kill()

    assert still_running(started, END_S) == []


def test_it_ends_by_itself_after_the_time_given(bundle, photos):
    command = [sys.executable, "-m", "edge", "demo", "--bundle", bundle, "--seconds", "3"]

    result = subprocess.run(
        [*command, "--source", f"images://{photos}?loop=1"],
        capture_output=True,
        timeout=30,
        check=False,
    )

    assert result.returncode == 0, result.stderr.decode()


def test_a_daemon_that_cannot_start_is_shown_with_its_last_lines(
    bundle, capfd, tmp_path, monkeypatch
):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    status = main(["demo", "--bundle", str(bundle), "--source", "file:///nowhere.mp4"])

    said = capfd.readouterr().err
    assert status == 3
    assert "the daemon ended with status 3" in said
    assert "/nowhere.mp4" in said
    assert len(list(tmp_path.glob("*/daemon.log"))) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--bundle", "/nowhere"], "bundle /nowhere: expected a directory, found nothing"),
        (["--bundle", "{bundle}", "--source", "clip.mp4"], "write file:///path/to/clip.mp4"),
    ],
)
def test_what_it_needs_is_asked_for(bundle, capsys, arguments, said):
    status = main(["demo", *(word.format(bundle=bundle) for word in arguments)])

    assert status == 3
    assert said in capsys.readouterr().err


def test_a_port_in_use_is_named_with_the_remedy(bundle, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])

        status = main(["demo", "--bundle", str(bundle), "--source", "csi://0", "--port", port])

    assert status == 3
    said = capsys.readouterr().err
    assert f"port {port} of 127.0.0.1: Address already in use" in said
    assert "--port" in said
