"""The command on real models and real footage: bundles that serve, the same bytes again, Ctrl-C."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge.detector.bundle import load_bundle
from edge.detector.golden import hold_to_golden
from edge.detector.onnxruntime import OnnxRuntime

pytestmark = [
    pytest.mark.needs("cv2", "onnxruntime", "onnx", "shared-data"),
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).parents[2]
BUILDS = {
    # A budget so wide that no layer is tried: a search takes minutes and is tested by itself.
    "yolo11n_320.onnx": ("--max-score-shift", "0.1", "--runtime", "onnxruntime"),
    # How much of it is kept is calibration's affair, and tested there.
    "yolox_nano_416.onnx": ("--no-search", "--allow-drop"),
}


def words(*given):
    return [sys.executable, "-m", "engines.cli", *map(str, given)]


def build(shared_data, photos, name, out):
    model = shared_data / "models" / name
    result = subprocess.run(
        words(model, "--images", photos, "--out", out, "--version", "2.0.1", *BUILDS[name]),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "float detections kept" in result.stdout
    return out


@pytest.fixture(scope="module")
def photos(shared_data, tmp_path_factory):
    """Write 20 frames of the shop video as photos."""
    import cv2

    folder = tmp_path_factory.mktemp("frames")
    video = cv2.VideoCapture(str(shared_data / "media" / "retail_store_1080p.mp4"))
    for number in range(600):
        video.grab()
        if number % 30 == 0:
            cv2.imwrite(str(folder / f"{number:04}.jpg"), video.retrieve()[1])
    video.release()
    return folder


@pytest.fixture(scope="module", params=BUILDS)
def built(request, tmp_path_factory, shared_data, photos):
    out = tmp_path_factory.mktemp("built") / "bundle"
    return request.param, build(shared_data, photos, request.param, out)


def test_the_command_builds_a_bundle_that_serves(built):
    bundle = load_bundle(built[1])
    spec = bundle.passport.input

    assert bundle.passport.version == "2.0.1"
    assert bundle.passport.accuracy["model.onnx"]["matched"] > 0
    with OnnxRuntime(bundle.file("model.onnx"), (spec.height, spec.width, 3)) as runtime:
        assert hold_to_golden(bundle, runtime, "model.onnx").kept == 1


@pytest.mark.parametrize("built", ["yolo11n_320.onnx"], indirect=True)
def test_the_same_inputs_give_the_same_bytes(tmp_path, shared_data, photos, built):
    name, first = built

    second = build(shared_data, photos, name, tmp_path / "again")

    one, other = (
        {file.name: file.read_bytes() for file in out.iterdir() if file.suffix != ".html"}
        for out in (first, second)
    )
    assert one == other


def test_ctrl_c_in_mid_build_leaves_nothing(tmp_path, shared_data, photos):
    out = tmp_path / "deep" / "bundle"
    model = shared_data / "models" / "yolox_nano_416.onnx"
    under_way = subprocess.Popen(
        words(model, "--images", photos, "--out", out),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        until(lambda line: "reading images" in line, under_way.stderr)
        time.sleep(1.5)
        under_way.send_signal(2)
        _, errors = under_way.communicate(timeout=60)
    finally:
        under_way.kill()

    assert under_way.returncode == 130
    assert "nothing was written" in errors
    assert list(tmp_path.iterdir()) == []


def until(wanted, stream):
    for line in stream:
        if wanted(line):
            return
    pytest.fail("the build ended early")
