"""What `edge doctor` looks at: each probe finds one thing out."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edge.capture.source import Kind, parse_source
from edge.detector.bundle import load_bundle
from edge.errors import PIP, BundleError
from edge.tools.finding import Finding, ProbeFailed, Verdict, ask

if TYPE_CHECKING:
    from edge.board import Board
    from edge.config import Config, MqttConfig

_CONNECT_S = 5
_MB = 1_000_000
_SUPPORTED_PYTHON = ((3, 10), (3, 13))
_INT8_FLAGS = {"avx512_vnni", "avx_vnni", "asimddp"}
_OLDEST_CUDA = 12000


def python() -> Finding:
    """Say which Python this is."""
    found = f"{platform.python_version()} at {sys.executable}"
    oldest, newest = _SUPPORTED_PYTHON
    if oldest <= sys.version_info[:2] <= newest:
        return Finding("Python", Verdict.OK, found)
    return Finding("Python", Verdict.WARNING, found, "tests", "tested on 3.10 to 3.13 only")


def machine(board: Board) -> Finding:
    """Say which board this is, and whether it is too old."""
    if board.supported:
        return Finding("board", Verdict.OK, str(board))
    return Finding(
        "board", Verdict.FAILS, str(board), "everything", "not supported: flash JetPack 6"
    )


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> Finding:
    """Say how many cores there are, and whether they have the INT8 dot product."""
    text = cpuinfo.read_text(encoding="utf-8", errors="replace")
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.*)", text, re.MULTILINE)
    model = re.search(r"^(?:model name|Model)\s*:\s*(.*)", text, re.MULTILINE)
    fast = sorted(_INT8_FLAGS & set(flags[1].split() if flags else ()))
    cores = len(os.sched_getaffinity(0))
    found = f"{model[1] if model else platform.machine()}, {cores} cores"
    if fast:
        return Finding("CPU", Verdict.OK, f"{found}, INT8 dot product ({', '.join(fast)})")
    return Finding(
        "CPU",
        Verdict.WARNING,
        f"{found}, no INT8 dot product",
        "INT8 in half of float's time on the CPU",
        "expect .6 to .9 of it, or use a GPU",
    )


def memory(meminfo: Path = Path("/proc/meminfo")) -> Finding:
    """Say how much memory there is."""
    kilobytes = dict(re.findall(r"^(\w+):\s+(\d+) kB", meminfo.read_text(), re.MULTILINE))
    total, free = (int(kilobytes[key]) * 1024 / 1e9 for key in ("MemTotal", "MemAvailable"))
    return Finding("memory", Verdict.OK, f"{free:.1f} of {total:.1f} GB available")


_OPENCV = """
import json, re, cv2
info = cv2.getBuildInformation()
has = lambda name: bool(re.search(name + r":\\s+YES", info))
print(json.dumps([cv2.__version__, has("GStreamer"), has("FFMPEG")]))
"""


def opencv(board: Board, config: Config | None) -> Finding:
    """Say which OpenCV there is, and whether it can read what is configured."""
    try:
        version, gstreamer, ffmpeg = ask(_OPENCV)
    except ProbeFailed as error:
        remedy = board.remedy("opencv", str(error))
        return Finding("OpenCV", Verdict.FAILS, str(error), "every camera", remedy)
    found = f"{version}, {_with('GStreamer', gstreamer)}, {_with('FFmpeg', ffmpeg)}"
    if gstreamer:
        return Finding("OpenCV", Verdict.OK, found)
    cameras = [
        camera.name
        for camera in (config.cameras if config else ())
        if parse_source(camera.source).kind in {Kind.CSI, Kind.GST}
    ]
    # Nothing else reads a Jetson's cameras at speed.
    verdict = Verdict.FAILS if cameras else Verdict.WARNING if board.l4t else Verdict.OK
    purpose = f"camera {', '.join(cameras)}" if cameras else "csi:// and gst:// sources"
    return Finding("OpenCV", verdict, found, purpose, board.remedy("gstreamer"))


def _with(name: str, there: object) -> str:
    return f"{'with' if there else 'no'} {name}"


_ONNXRUNTIME = """
import json, onnxruntime
print(json.dumps(onnxruntime.__version__))
"""


def onnxruntime(board: Board) -> Finding:
    """Say which ONNX Runtime there is."""
    try:
        return Finding("ONNX Runtime", Verdict.OK, ask(_ONNXRUNTIME))
    except ProbeFailed as error:
        return Finding(
            "ONNX Runtime",
            Verdict.NOT_HERE,
            str(error),
            "detecting on the CPU",
            board.remedy("onnxruntime"),
        )


_DRIVER = """
import ctypes, json, sys
try:
    cuda = ctypes.CDLL("libcuda.so.1")
except OSError:
    sys.exit("no libcuda.so.1")
if status := cuda.cuInit(0):
    sys.exit(f"cuInit failed with CUDA error {status}")
version, device, major, minor = (ctypes.c_int() for _ in range(4))
name = ctypes.create_string_buffer(100)
cuda.cuDriverGetVersion(ctypes.byref(version))
if status := cuda.cuDeviceGet(ctypes.byref(device), 0):
    sys.exit(f"no GPU: CUDA error {status}")
cuda.cuDeviceGetName(name, 100, device)
cuda.cuDeviceGetAttribute(ctypes.byref(major), 75, device)
cuda.cuDeviceGetAttribute(ctypes.byref(minor), 76, device)
print(json.dumps([version.value, name.value.decode(), major.value, minor.value]))
"""


def cuda_driver(board: Board) -> Finding:
    """Say whether there is a CUDA driver and a GPU; asked of the driver itself."""
    name, purpose = "CUDA driver", "detecting on the GPU"
    try:
        version, gpu, major, minor = ask(_DRIVER)
    except ProbeFailed as error:
        return Finding(name, Verdict.NOT_HERE, str(error), purpose, board.remedy("driver"))
    found = f"CUDA {version // 1000}.{version % 1000 // 10}, {gpu}, compute {major}.{minor}"
    if version < _OLDEST_CUDA:
        remedy = "upgrade it to one for CUDA 12 or newer"
        return Finding(name, Verdict.WARNING, found, purpose, remedy)
    return Finding(name, Verdict.OK, found)


_VERSION = """
import importlib, json, sys
from importlib.metadata import PackageNotFoundError, version
module = importlib.import_module(sys.argv[1])
try:
    print(json.dumps(getattr(module, "__version__", None) or version(sys.argv[1])))
except PackageNotFoundError:
    print(json.dumps("of unknown version"))
"""


def gpu_package(name: str, module: str, board: Board, driver: Finding) -> Finding:
    """Say which version of `module` there is; imported only once the driver has answered."""
    purpose = "detecting on the GPU"
    if driver.verdict is Verdict.NOT_HERE:
        # Some of these crash without a driver, and none is of use.
        return Finding(name, Verdict.NOT_HERE, "not looked at: no CUDA driver", purpose)
    try:
        return Finding(name, Verdict.OK, ask(_VERSION, module))
    except ProbeFailed as error:
        return Finding(name, Verdict.NOT_HERE, str(error), purpose, board.remedy(module))


def systemd() -> Finding:
    """Say whether systemd runs this machine."""
    if Path("/run/systemd/system").is_dir():
        return Finding("systemd", Verdict.OK, "runs this machine")
    return Finding("systemd", Verdict.NOT_HERE, "does not run here", "the service in deploy/")


def demo_broker() -> Finding:
    """Say which broker `edge demo` would start."""
    if path := shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin"):
        return Finding("mosquitto", Verdict.OK, path)
    return Finding(
        "mosquitto",
        Verdict.NOT_HERE,
        "not installed",
        "edge demo, which else needs amqtt",
        f"apt install mosquitto, or {PIP} install 'aisle-edge[demo]'",
    )


def disk(path: Path, needed_mb: float) -> Finding:
    """Say how much room there is where the outbox is or will be."""
    place = path.parent
    while not place.is_dir():
        place = place.parent
    free = shutil.disk_usage(place).free / _MB
    found = f"{free / 1000:.1f} GB free at {place}"
    if free < needed_mb:
        remedy = f"make room: outbox.max_mb is {needed_mb:g}"
        return Finding("disk", Verdict.WARNING, found, "messages while offline", remedy)
    if not os.access(place, os.W_OK | os.X_OK):
        found = f"this user may not write at {place}"
        remedy = "ask as the service's user (runuser -u aisle-edge), or correct outbox.path"
        return Finding("disk", Verdict.WARNING, found, "messages while offline", remedy)
    return Finding("disk", Verdict.OK, found)


def bundle(config: Config) -> Finding:
    """Say which bundle the configuration names."""
    try:
        passport = load_bundle(config.bundle).passport
    except BundleError as error:
        return Finding("bundle", Verdict.FAILS, error.message, "detecting", error.hint)
    labels = f"{len(passport.labels)} labels"
    return Finding("bundle", Verdict.OK, f"{passport.name} {passport.version}, {labels}")


_CONNECT = """
import json, socket, sys
host, port, seconds = sys.argv[1:]
try:
    with socket.create_connection((host, int(port)), float(seconds)) as connection:
        print(json.dumps(connection.getpeername()[0]))
except socket.gaierror as error:
    sys.exit(f"the name {host} is not known: {error.strerror}")
except OSError as error:
    sys.exit(f"{host} port {port}: {error.strerror or error}")
"""


def broker(mqtt: MqttConfig) -> Finding:
    """Say whether the broker's port can be reached from here."""
    try:
        address = ask(_CONNECT, mqtt.host, str(mqtt.port), str(_CONNECT_S))
    except ProbeFailed as error:
        remedy = (
            "start it, or check mqtt.host, mqtt.port and the firewall; messages wait in the outbox"
        )
        return Finding("broker", Verdict.WARNING, str(error), "publishing", remedy)
    return Finding("broker", Verdict.OK, f"{mqtt.host} port {mqtt.port} answers ({address})")
