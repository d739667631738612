"""Every family's graph can be cast to float16 for TensorRT, and detects the same."""

import numpy as np
import onnx
import pytest

from engines.half import half
from engines.inspection import Order, understand
from tests import (
    networks,
    networks_detr,
    networks_nanodet,
    networks_ssd,
    networks_tensorflow,
    networks_torchvision,
    networks_yolo,
)

pytestmark = pytest.mark.needs("onnxruntime", "onnx")

FAMILIES = {
    "ultralytics": networks.ultralytics,
    "yolox": networks.yolox,
    "yolov5": networks_yolo.yolov5,
    "yolov6": networks_yolo.yolov6,
    "end to end": networks_yolo.end_to_end,
    "detr": networks_detr.detr,
    "detr of ultralytics": networks_detr.ultralytics,
    "nanodet": networks_nanodet.nanodet,
    "fastestdet": networks_nanodet.fastestdet,
    "ssd": networks_ssd.ssd,
    "torchvision": networks_torchvision.torchvision,
    "tensorflow": networks_tensorflow.tensorflow,
}


def understood(family, folder):
    made = FAMILIES[family]()
    model = made[0] if isinstance(made, tuple) else made
    path = folder / "model.onnx"
    onnx.save(getattr(model, "model", model), path)
    (folder / "labels.txt").write_text("a\nb\nc\n")
    return understand(Order(model=path, name="m", version="1", labels=folder / "labels.txt"))


def scores(graph, frames):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.sort(session.run(["scores"], {"frames": frames})[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_it_detects_what_float32_detects(family, tmp_path):
    adapted = understood(family, tmp_path)
    shape = (1, adapted.input.height, adapted.input.width, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    halved = half(adapted.graph)

    assert any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in halved.graph.initializer)
    np.testing.assert_allclose(scores(halved, frames), scores(adapted.graph, frames), atol=0.005)
