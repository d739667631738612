"""The command on real models and real footage: bundles that serve, Ctrl-C."""

from __future__ import annotations

import pytest

from edge.detector.bundle import load_bundle
from edge.detector.golden import hold_to_golden
from edge.detector.onnxruntime import OnnxRuntime
from tests.integration import builder

pytestmark = [
    pytest.mark.needs("cv2", "onnxruntime", "onnx", "shared-data"),
    pytest.mark.timeout(600),
]

BUILDS = {
    # How much of them is kept is calibration's affair, and tested there.
    "yolo11n_320.onnx": ("--no-search", "--allow-drop", "--runtime", "onnxruntime"),
    "yolox_nano_416.onnx": ("--no-search", "--allow-drop"),
}


@pytest.fixture(scope="module")
def photos(shared_data, tmp_path_factory):
    """Write 21 frames of the shop video as photos."""
    video = shared_data / "media" / "retail_store_1080p.mp4"
    return builder.photos(video, tmp_path_factory.mktemp("frames"), every=30)


@pytest.fixture(scope="module", params=BUILDS)
def built(request, tmp_path_factory, shared_data, photos):
    out, model = tmp_path_factory.mktemp("built") / "bundle", shared_data / "models" / request.param

    result = builder.build(
        model, "--images", photos, "--out", out, "--version", "2.0.1", *BUILDS[request.param]
    )

    assert result.returncode == 0, result.stderr
    assert "float detections kept" in result.stdout
    return out


def test_the_command_builds_a_bundle_that_serves(built):
    bundle = load_bundle(built)
    spec = bundle.passport.input

    assert bundle.passport.version == "2.0.1"
    assert bundle.passport.accuracy["model.onnx"]["matched"] > 0
    with OnnxRuntime(bundle.file("model.onnx"), (spec.height, spec.width, 3)) as runtime:
        assert hold_to_golden(bundle, runtime, "model.onnx").kept == 1


def test_ctrl_c_in_mid_build_leaves_nothing(tmp_path, shared_data, photos):
    out = tmp_path / "deep" / "bundle"
    model = shared_data / "models" / "yolox_nano_416.onnx"

    status, errors = builder.interrupted(
        model, "--images", photos, "--out", out, at="reading images", after_s=1.5
    )

    assert status == 130
    assert "nothing was written" in errors
    assert list(tmp_path.iterdir()) == []
