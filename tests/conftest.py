"""What a test may need from the machine, and what happens where it is not there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
SHARED_DATA = ROOT.parent / "shared" / "data"

# What holds, holds on a busy machine too.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")

# As `edge` does; here tests may import ONNX Runtime before it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_RTSP = (
    "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
)


def _program(*names: str) -> Callable[[], bool]:
    # Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    return lambda: all(shutil.which(name, path=path) for name in names)


def _package(name: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(name) is not None


def _rtsp_server() -> bool:
    python = Path("/usr/bin/python3")
    if not python.exists():
        return False
    command = [python, "-c", _RTSP]
    return subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 0


NEEDS: dict[str, tuple[Callable[[], bool], str]] = {
    "mosquitto": (_program("mosquitto"), "apt install mosquitto"),
    "mosquitto-clients": (
        _program("mosquitto_pub", "mosquitto_sub"),
        "apt install mosquitto-clients",
    ),
    "rtsp": (_rtsp_server, "apt install gir1.2-gst-rtsp-server-1.0 python3-gst-1.0"),
    "ffmpeg": (_program("ffmpeg"), "apt install ffmpeg"),
    "openssl": (_program("openssl"), "apt install openssl"),
    "setpriv": (_program("setpriv"), "apt install util-linux"),
    "tmux": (_program("tmux"), "apt install tmux"),
    "systemd-analyze": (_program("systemd-analyze"), "apt install systemd"),
    "chromium": (_program("chromium"), "apt install chromium"),
    "cv2": (_package("cv2"), "pip install 'aisle-edge[cpu]'"),
    "onnxruntime": (_package("onnxruntime"), "pip install 'aisle-edge[cpu]'"),
    "onnx": (_package("onnx"), "pip install 'aisle-edge[build]'"),
    "amqtt": (_package("amqtt"), "pip install 'aisle-edge[demo]'"),
    "shared-data": (SHARED_DATA.is_dir, "../shared/data is not beside the project"),
}
"""need: (is it here, how to get it)."""


@cache
def _is_here(need: str) -> bool:
    return NEEDS[need][0]()


def require_or_skip(*needs: str) -> None:
    """Skip this test unless the machine has all of `needs`; fail it where it was promised.

    AISLE_EDGE_REQUIRE names, with commas between, what the machine promised to have: CI sets it,
    so that a test of the real broker cannot be left out in silence.
    """
    promised = os.environ.get("AISLE_EDGE_REQUIRE", "").split(",")
    for need in needs:
        if _is_here(need):
            continue
        if need in promised:
            pytest.fail(f"AISLE_EDGE_REQUIRE promises {need}, which is not here: {NEEDS[need][1]}")
        pytest.skip(f"needs {need}: {NEEDS[need][1]}")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of models and footage that lies beside the project."""
    require_or_skip("shared-data")
    return SHARED_DATA


@pytest.fixture(scope="session")
def mosquitto() -> str:
    """Return the path of the real broker's binary."""
    require_or_skip("mosquitto")
    return shutil.which("mosquitto") or "/usr/sbin/mosquitto"


def _keep_to_one_core() -> None:
    """Have each of the workers that run side by side, with what it starts, on a core of its own.

    A build takes all the cores it sees: four of them beside each other need twice the time, and
    what they leave no time for is late.
    """
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


def pytest_configure(config: pytest.Config) -> None:
    """Let a test say what it needs: `@pytest.mark.needs("mosquitto")`.

    A shell starts what it puts in the background with Ctrl-C ignored, and children inherit that;
    the tests that press it need a default.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _keep_to_one_core()
    config.addinivalue_line("markers", "needs(*names): skip, or fail in CI, without them")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Apply the `needs` markers."""
    for marker in item.iter_markers("needs"):
        require_or_skip(*marker.args)
