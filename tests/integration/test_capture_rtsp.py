"""Network cameras, through the real OpenCV, against a real RTSP server that fails in real ways."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from edge.capture.camera import Camera
from edge.capture.readers import open_reader
from edge.capture.source import parse_source
from edge.config import CameraConfig
from edge.errors import CaptureError
from edge.frame import Blindness
from tests.integration import rtsp_server
from tests.integration.rtsp_server import FPS, HEIGHT, WIDTH, RtspServer

pytestmark = [pytest.mark.needs("cv2", "rtsp"), pytest.mark.timeout(90)]


@pytest.fixture
def serve():
    """Start servers that are gone when the test is."""
    if why := rtsp_server.missing():
        promised = "rtsp" in os.environ.get("AISLE_EDGE_REQUIRE", "").split(",")
        (pytest.fail if promised else pytest.skip)(why)
    servers = []

    def start(user="", password=""):
        servers.append(RtspServer(user, password))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


class Watching:
    def __init__(self, url, fps=5.0):
        self.frames = []
        config = CameraConfig(name="a07", source=url, fps=fps, aisles=[{"id": "07"}])
        self.camera = Camera(config, lambda frame: self.frames.append(frame.stamp))

    def __enter__(self):
        self.camera.check()
        self.camera.start()
        return self

    def __exit__(self, *_):
        self.camera.stop(5)

    def until(self, condition, timeout=25.0):
        """Wait for a condition of the status; return how long that took."""
        began = time.monotonic()
        while not condition(self.camera.status()):
            assert time.monotonic() - began < timeout, self.camera.status()
            time.sleep(0.05)
        return time.monotonic() - began


def streaming(status):
    return status.state == "streaming" and status.fps > 3


def stalled(status):
    return status.blindness is Blindness.STALLED


def test_a_stream_is_looked_at_at_the_rate_asked_for(serve):
    with Watching(serve().url) as seen:
        seen.until(streaming)
        time.sleep(3)
        status = seen.camera.status()
    # The first one was taken while the stream was being opened; what came meanwhile follows it.
    numbers = [stamp.number for stamp in seen.frames[1:]]

    assert status.fps == pytest.approx(5, abs=1)
    assert seen.frames[0].resolution_wh == (WIDTH, HEIGHT)
    assert {stamp.blindness for stamp in seen.frames} == {None}
    assert (numbers[-1] - numbers[0]) / (len(numbers) - 1) == pytest.approx(FPS / 5, abs=0.8)


def test_a_server_that_dies_and_comes_back_is_opened_again(serve, caplog):
    caplog.set_level(logging.INFO)
    server = serve()
    with Watching(server.url) as seen:
        seen.until(streaming)
        server.kill()
        went_after = seen.until(stalled)
        assert "refuses connections" in seen.camera.status().detail
        server.start()
        seen.until(streaming)
        status = seen.camera.status()

    assert went_after < 7
    assert (status.reopened, status.detail) == (1, "")
    assert caplog.text.count("refuses connections") == 1
    numbers = [stamp.number for stamp in seen.frames]
    assert numbers == sorted(set(numbers))


def test_a_server_that_hangs_without_closing_is_noticed_and_resumed(serve):
    server = serve()
    with Watching(server.url) as seen:
        seen.until(streaming)
        server.freeze()
        went_after = seen.until(stalled)
        frames = len(seen.frames)
        time.sleep(3)
        assert stalled(seen.camera.status())
        assert len(seen.frames) == frames
        server.thaw()
        seen.until(streaming, timeout=45)

    assert went_after < 7


def test_a_hiccup_shorter_than_the_time_out_changes_nothing(serve):
    server = serve()
    with Watching(server.url) as seen:
        seen.until(streaming)
        server.freeze()
        time.sleep(2)
        server.thaw()
        frames = len(seen.frames)
        seen.until(lambda _: len(seen.frames) > frames + 5)
        status = seen.camera.status()

    assert (status.reopened, status.blindness) == (0, None)


def test_one_camera_that_hangs_does_not_slow_another(serve):
    hanging, well = serve(), serve()
    with Watching(hanging.url) as a, Watching(well.url) as b:
        a.until(streaming)
        b.until(streaming)
        hanging.freeze()
        time.sleep(6)
        assert stalled(a.camera.status())
        assert b.camera.status().fps == pytest.approx(5, abs=1)
        hanging.thaw()


def test_cameras_that_do_not_answer_keep_no_other_from_opening(serve):
    silent = [serve() for _ in range(3)]
    for server in silent:
        server.freeze()
    with ExitStack() as stack:
        for server in silent:
            stack.enter_context(Watching(server.url))
        time.sleep(0.3)  # they are being opened
        began = time.monotonic()
        well = stack.enter_context(Watching(serve().url))
        well.until(streaming)
        took = time.monotonic() - began
        for server in silent:
            server.kill()

    assert took < 4


def test_a_server_that_hangs_does_not_hold_up_the_end(serve):
    server = serve()
    with Watching(server.url) as seen:
        seen.until(streaming)
        server.freeze()
        time.sleep(0.5)
        began = time.monotonic()
        seen.camera.stop(2)
        took = time.monotonic() - began
        server.kill()

    assert took < 3


def test_a_password_with_special_characters_is_understood_and_never_shown(serve, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    server = serve("admin", "p@ss:w/rd")
    url = server.url.replace("://", "://admin:p%40ss%3Aw%2Frd@")
    with Watching(url) as seen:
        seen.until(streaming)

    shown = caplog.text + "".join(capfd.readouterr()) + repr(seen.camera.status())
    assert "p@ss" not in shown
    assert "p%40ss" not in shown


@pytest.mark.parametrize(
    ("login", "says"),
    [
        ("", "wants a user name and a password; write rtsp://USER:PASSWORD@HOST/PATH"),
        ("admin:wrong@", "refuses this user name or password"),
    ],
)
def test_a_camera_that_refuses_us_says_so(serve, login, says):
    url = serve("admin", "hunter2").url.replace("://", f"://{login}")

    with pytest.raises(CaptureError, match=says) as refused:
        open_reader(parse_source(url))
    assert "wrong" not in str(refused.value)


def test_a_path_that_does_not_exist_is_named(serve):
    with pytest.raises(CaptureError, match=r"no stream at this path \(RTSP status 404\)"):
        open_reader(parse_source(serve().url + "/nothing-here"))


def test_a_port_on_which_nobody_listens_is_named():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(CaptureError, match=f"127.0.0.1 refuses connections on port {port}"):
        open_reader(parse_source(f"rtsp://127.0.0.1:{port}/x"))


def test_a_host_that_does_not_exist_is_named():
    with pytest.raises(CaptureError, match=r"no host is named no-such-camera\.invalid"):
        open_reader(parse_source("rtsp://no-such-camera.invalid/x"))


def test_a_port_that_speaks_something_else_is_named():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            for _ in range(8):
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(512)
                    connection.sendall(b"SSH-2.0-OpenSSH_9\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(CaptureError, match="answers, but not with RTSP"):
            open_reader(parse_source(f"rtsp://127.0.0.1:{server.getsockname()[1]}/x"))
