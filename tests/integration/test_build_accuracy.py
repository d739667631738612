"""The accuracy gate on a real model: what it refuses, what it records, what it leaves behind."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.detector.bundle import load_bundle
from edge.detector.detector import decode
from edge.detector.letterbox import letterbox
from engines.evaluation.accuracy import run_graph
from engines.inspection import Order, understand
from tests.integration import builder

pytestmark = [
    pytest.mark.needs("cv2", "onnxruntime", "onnx", "shared-data"),
    pytest.mark.timeout(600),
]


@pytest.fixture(scope="module")
def model(shared_data):
    return shared_data / "models" / "yolo11n_320.onnx"


@pytest.fixture(scope="module")
def frames(shared_data, tmp_path_factory):
    """Write two dozen frames of the shop video as photos."""
    video = shared_data / "media" / "retail_store_1080p.mp4"
    return builder.photos(video, tmp_path_factory.mktemp("frames"), every=25)


@pytest.fixture(scope="module")
def annotations(model, frames, tmp_path_factory):
    """Annotate the frames with what the float model finds: the truth that INT8 is to find again."""
    import cv2

    adapted = understand(Order(model, "model", "1"))
    images, objects = [], []
    for number, path in enumerate(sorted(frames.iterdir())):
        frame, placement = letterbox(cv2.imread(str(path)), adapted.input)
        found = decode(run_graph(adapted.graph, [frame], lambda *_: None), 0, placement, 0.4)
        for xyxy, label in zip(found.xyxy.tolist(), found.labels.tolist(), strict=True):
            box = [xyxy[0], xyxy[1], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]]
            objects.append({"image_id": number, "category_id": label + 1, "bbox": box})
        width, height = placement.frame_wh
        images.append({"id": number, "file_name": path.name, "width": width, "height": height})
    names = [{"id": i + 1, "name": name.upper()} for i, name in enumerate(adapted.labels)]
    file = tmp_path_factory.mktemp("annotations") / "coco.json"
    file.write_text(json.dumps({"images": images, "annotations": objects, "categories": names}))
    return file


def test_with_annotations_the_passport_has_the_average_precision(
    tmp_path, model, frames, annotations
):
    out = tmp_path / "bundle"

    result = builder.build(
        model, "--images", frames, "--annotations", annotations, "--out", out,
        "--no-search", "--allow-drop",
    )  # fmt: skip

    assert result.returncode == 0, result.stderr
    told = load_bundle(out).passport.accuracy
    assert told["float"]["images"] == told["held_out_frames"] == 8
    assert told["float"]["ap50"] > 0.95  # below 1: its own detections below 0.4 are false alarms
    for part in ("model.onnx", "model.trt.onnx"):
        found = told[part]["average_precision"]
        assert found["objects"] == told["float"]["objects"] > 10
        assert found["ap50"] > 0.9 * told["float"]["ap50"]
        assert f"{part}: mAP50-95" in result.stdout
    assert told["budget"]["allow_drop"] is True


def test_a_budget_that_cannot_be_met_exits_4_and_leaves_nothing(tmp_path, model, frames):
    out = tmp_path / "bundle"

    result = builder.build(
        model, "--images", frames, "--out", out, "--max-score-shift", "0.0001", "--no-search"
    )

    assert result.returncode == 4
    last = result.stderr.strip().splitlines()[-1]
    assert "misses its accuracy budget in INT8" in last
    assert "model.onnx: score shift of confident detections" in last
    assert "Labels that lose most: person" in last
    assert "Layers that lose most: /model." in last
    assert "--allow-drop" in last
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_mid_search_leaves_nothing(tmp_path, model, frames):
    out = tmp_path / "deep" / "bundle"

    status, errors = builder.interrupted(
        model, "--images", frames, "--out", out, "--max-score-shift", "0.0001",
        at="trying the ranges of model.onnx",
    )  # fmt: skip

    assert status == 130
    assert "nothing was written" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def broken(model, tmp_path_factory):
    """Quantise the model whole, its tail too, as ONNX Runtime does by default."""
    from onnxruntime import quantization

    class Noise(quantization.CalibrationDataReader):
        def __init__(self):
            pictures = np.random.default_rng(0).random((2, 1, 3, 320, 320), np.float32)
            self.left = [{"images": picture} for picture in pictures]

        def get_next(self):
            return self.left.pop() if self.left else None

    path = tmp_path_factory.mktemp("broken") / "model.onnx"
    quantization.quantize_static(
        str(model), str(path), Noise(), quant_format=quantization.QuantFormat.QDQ
    )
    return path


def test_a_model_that_another_quantiser_broke_detects_nothing(tmp_path, broken, frames):
    result = builder.build(broken, "--images", frames, "--out", tmp_path / "bundle")

    assert result.returncode == 4
    last = result.stderr.strip().splitlines()[-1]
    assert "is already quantised and detects nothing: every score is 0 on all 8 images" in last
    assert "export the trained float32 model again" in last
    assert list(tmp_path.iterdir()) == []


def test_a_quantised_model_that_still_detects_is_refused_with_the_remedy(tmp_path, model, frames):
    from onnxruntime import quantization

    path = tmp_path / "dynamic.onnx"
    quantization.quantize_dynamic(str(model), str(path), weight_type=quantization.QuantType.QUInt8)

    result = builder.build(path, "--images", frames, "--out", tmp_path / "bundle")

    assert result.returncode == 3
    last = result.stderr.strip().splitlines()[-1]
    assert "already quantised (ConvInteger, DynamicQuantizeLinear); as it is, it has" in last
    assert "export the trained float32 model again" in last
    assert list(tmp_path.iterdir()) == [path]
