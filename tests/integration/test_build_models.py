"""Real trained models on real footage: the contract graph is the float model, run by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detector.letterbox import letterbox
from engines.inspection import Order, understand
from engines.labels import find_labels

pytestmark = [
    pytest.mark.needs("cv2", "onnxruntime", "onnx", "shared-data"),
    pytest.mark.timeout(600),
]

MODELS = {"ultralytics": "yolo11n_320.onnx", "yolox": "yolox_nano_416.onnx"}
IOU = {"ultralytics": 0.7, "yolox": 0.45}
"""What each family's own scripts use."""
THRESHOLD = 0.1


def order(shared_data, family):
    return Order(model=shared_data / "models" / MODELS[family], name="model", version="1")


@pytest.fixture(scope="module")
def footage(shared_data):
    """Return 16 frames of a shop, a person, bottles and a warehouse."""
    import cv2

    frames = []
    for name in ("retail_store_1080p", "person_432p", "bottle_360p"):
        video = cv2.VideoCapture(str(shared_data / "media" / f"{name}.mp4"))
        for number in (30, 200, 350, 500):
            video.set(cv2.CAP_PROP_POS_FRAMES, number)
            frames.append(video.read()[1])
        video.release()
    photos = sorted((shared_data / "media" / "warehouse_boxes" / "images").iterdir())
    return frames + [cv2.imread(str(path)) for path in photos[::20][:4]]


def by_hand(session, family, size, frame):
    """Return (boxes xyxy in input pixels, scores, labels) as the family's own scripts get them."""
    import cv2

    side = size[0]
    ratio = min(side / frame.shape[1], side / frame.shape[0])
    width, height = round(frame.shape[1] * ratio), round(frame.shape[0] * ratio)
    left, top = ((side - width) // 2, (side - height) // 2) if family == "ultralytics" else (0, 0)
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[top : top + height, left : left + width] = cv2.resize(frame, (width, height))
    fed = canvas.transpose(2, 0, 1)[None].astype(np.float32)
    if family == "ultralytics":
        output = session.run(None, {"images": fed[:, ::-1] / 255})[0][0].T
        centre, wh, scores = output[:, :2], output[:, 2:4], output[:, 4:]
    else:
        output = session.run(None, {"images": fed})[0][0]
        grids, strides = [], []
        for stride in (8, 16, 32):
            cells = side // stride
            x, y = np.meshgrid(np.arange(cells), np.arange(cells))
            grids.append(np.stack((x, y), 2).reshape(-1, 2))
            strides.append(np.full((cells * cells, 1), stride))
        grid, stride = np.concatenate(grids), np.concatenate(strides)
        centre, wh = (output[:, :2] + grid) * stride, np.exp(output[:, 2:4]) * stride
        scores = output[:, 4:5] * output[:, 5:]
    labels, best = scores.argmax(1), scores.max(1)
    corner = centre - wh / 2
    kept = cv2.dnn.NMSBoxesBatched(
        np.hstack([corner, wh]).tolist(), best.tolist(), labels.tolist(), THRESHOLD, IOU[family]
    )
    return np.hstack([corner, corner + wh])[kept], best[kept], labels[kept]


@pytest.mark.parametrize("family", MODELS)
def test_the_contract_graph_detects_what_the_float_model_run_by_hand_detects(
    shared_data, footage, family
):
    import onnxruntime

    adapted = understand(order(shared_data, family))
    assert adapted.family.name == family
    size = adapted.input.resolution_wh
    bare = onnxruntime.InferenceSession(str(shared_data / "models" / MODELS[family]))
    graph = onnxruntime.InferenceSession(adapted.graph.SerializeToString())
    total = 0
    for frame in footage:
        boxes, scores, labels = by_hand(bare, family, size, frame)
        pixels, _ = letterbox(frame, adapted.input)
        found = [x[0] for x in graph.run(None, {"frames": pixels[None]})]
        used = found[1] >= THRESHOLD
        total += len(scores)

        assert used.sum() == len(scores)
        order_of = np.argsort(-scores, kind="stable")
        np.testing.assert_allclose(found[1][used], scores[order_of], atol=1e-4)
        np.testing.assert_array_equal(found[2][used], labels[order_of])
        np.testing.assert_allclose(found[0][used], boxes[order_of], atol=0.01)
    assert total > 30


@pytest.mark.parametrize("family", MODELS)
def test_a_real_network_takes_a_batch(shared_data, footage, family):
    import onnxruntime

    adapted = understand(order(shared_data, family))
    graph = onnxruntime.InferenceSession(adapted.graph.SerializeToString())
    pair = np.stack([letterbox(frame, adapted.input)[0] for frame in footage[:2]])

    together = graph.run(None, {"frames": pair})

    for index in range(2):
        alone = graph.run(None, {"frames": pair[index : index + 1]})
        used = alone[1][0] >= THRESHOLD
        np.testing.assert_allclose(together[1][index][used], alone[1][0][used], atol=1e-4)
        np.testing.assert_allclose(together[0][index][used], alone[0][0][used], atol=0.01)


def test_a_dequantised_export_gets_its_biases_back(shared_data):
    adapted = understand(order(shared_data, "ultralytics"))

    convolutions = [n for n in adapted.graph.graph.node if n.op_type == "Conv"]

    assert len(convolutions) == 87  # of 88: the distributions' expectation is decoded late
    assert all(len(node.input) == 3 for node in convolutions)


def test_names_come_out_of_the_models_metadata(shared_data):
    adapted = understand(order(shared_data, "ultralytics"))

    assert find_labels(adapted.network.source, 80, None)[0][:2] == ("person", "bicycle")
