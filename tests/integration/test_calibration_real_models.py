"""Real detectors on real footage: INT8 finds what float finds, in integer kernels."""

from collections import Counter

import onnx
import pytest

from calibration.quantise import quantise
from edge.detections import Detections
from edge.detector.agreement import agreement
from edge.detector.letterbox import letterbox
from engines.evaluation.accuracy import run_graph
from engines.inspection import Order, understand

pytestmark = [
    pytest.mark.needs("onnxruntime", "onnx", "cv2", "shared-data"),
    pytest.mark.timeout(300),
]

MODELS = ["yolo11n_320.onnx", "yolox_nano_416.onnx"]


def footage(folder, spec):
    """Return frames to calibrate on, and others to evaluate on."""
    import cv2

    pictures = []
    for name, step in (("retail_store_1080p.mp4", 12), ("person_432p.mp4", 50)):
        video = cv2.VideoCapture(str(folder / "media" / name))
        for number in range(600):
            good, picture = video.read()
            if not good:
                break
            if number % step == 0:
                pictures.append(letterbox(picture, spec)[0])
        video.release()
    boxes = sorted((folder / "media" / "warehouse_boxes" / "images").iterdir())[::5]
    pictures += [letterbox(cv2.imread(str(path)), spec)[0] for path in boxes]
    return pictures[::2], pictures[1::2]


def detections(raw):
    used = [scores > 0 for scores in raw.scores]
    return [
        Detections(raw.boxes[i][keep], raw.scores[i][keep], raw.labels[i][keep])
        for i, keep in enumerate(used)
    ]


@pytest.fixture(scope="module", params=MODELS)
def quantised(request, shared_data):
    adapted = understand(Order(shared_data / "models" / request.param, "model", "1.0.0"))
    calibration, held_out = footage(shared_data, adapted.input)
    return adapted.graph, quantise(adapted.graph, calibration), held_out


@pytest.mark.parametrize(("encoding", "kept"), [("cpu", 0.88), ("tensorrt", 0.88)])
def test_int8_finds_what_float_finds_on_frames_it_was_not_calibrated_on(quantised, encoding, kept):
    graph, calibrated, held_out = quantised
    found = detections(run_graph(getattr(calibrated, encoding), held_out, lambda *_: None))
    expected = detections(run_graph(graph, held_out, lambda *_: None))
    agreed = agreement(zip(expected, found, strict=True), 0.25)
    assert agreed.reference > 50
    assert agreed.recall >= kept
    assert agreed.precision >= 0.9
    assert agreed.mean_score_shift <= 0.04
    assert agreed.mean_corner_shift_px <= 2


def test_onnxruntime_runs_the_body_in_integers(quantised, tmp_path):
    import onnxruntime

    _, calibrated, _ = quantised
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        calibrated.cpu.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    optimised = onnx.load(tmp_path / "optimised.onnx").graph
    ops = Counter(node.op_type for node in optimised.node)
    assert ops["QLinearConv"] > ops["Conv"] + ops["FusedConv"]
    assert ops["QLinearConcat"] > 8
    # A convolution that reads weights in need of dequantisation was not fused.
    restored = {n.output[0] for n in optimised.node if n.op_type == "DequantizeLinear"}
    assert not [n for n in optimised.node if "Conv" in n.op_type and n.input[1] in restored]
