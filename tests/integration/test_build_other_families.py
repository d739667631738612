"""Real models that are no YOLO: what their contract graphs detect, held to a run by hand."""

from __future__ import annotations

import numpy as np
import pytest

from edge.detector.letterbox import letterbox
from engines import nms
from engines.inspection import Order, understand
from tests import by_hand

pytestmark = pytest.mark.needs("cv2", "onnxruntime", "onnx", "shared-data")

THRESHOLD = 0.1
SHOWN = {
    "ssd_face_rfb_320": ("person_432p", range(20, 280, 20)),
    "deimv2_femto_416": ("retail_store_1080p", range(20, 600, 60)),
}


@pytest.fixture(scope="module")
def footage(shared_data):
    """Return, by model, frames that show what it was trained on."""
    import cv2

    frames = {}
    for model, (name, numbers) in SHOWN.items():
        video = cv2.VideoCapture(str(shared_data / "media" / f"{name}.mp4"))
        frames[model] = []
        for number in numbers:
            video.set(cv2.CAP_PROP_POS_FRAMES, number)
            frames[model].append(video.read()[1])
        video.release()
    return frames


def ssd(session, frame):
    """Detect faces as the model's own script does; boxes in input pixels."""
    import cv2

    fed = (cv2.resize(frame, (320, 240))[:, :, ::-1].astype(np.float32) - 127) / 128
    scores, boxes = session.run(["scores", "boxes"], {"input": fed.transpose(2, 0, 1)[None]})
    faces, corners = scores[0, :, 1], boxes[0] * np.float32([320, 240, 320, 240])
    kept = cv2.dnn.NMSBoxes(
        np.hstack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).tolist(),
        faces.tolist(),
        THRESHOLD,
        nms.IOU,
    )
    kept = np.array(kept, int)
    return corners[kept], faces[kept], np.zeros(len(kept), int)


def deim(session, frame):
    """Detect as the model's own script does, with the network's size as the image's."""
    import cv2

    fed = cv2.resize(frame, (416, 416))[:, :, ::-1].astype(np.float32) / 255
    sizes = np.array([[416, 416]])
    inputs = {"images": fed.transpose(2, 0, 1)[None], "orig_target_sizes": sizes}
    labels, boxes, scores = (x[0] for x in session.run(["labels", "boxes", "scores"], inputs))
    used = scores >= THRESHOLD
    return boxes[used], scores[used], labels[used]


BY_HAND = {"ssd_face_rfb_320": ssd, "deimv2_femto_416": deim}


@pytest.mark.parametrize("model", BY_HAND)
def test_the_contract_graph_detects_what_the_float_model_run_by_hand_detects(
    shared_data, footage, model
):
    import onnxruntime

    path = shared_data / "models" / f"{model}.onnx"
    adapted = understand(Order(model=path, name="model", version="1"))
    bare = onnxruntime.InferenceSession(str(path))
    graph = by_hand.session(adapted.graph)
    total = 0
    for frame in footage[model]:
        boxes, scores, labels = BY_HAND[model](bare, frame)
        pixels, _ = letterbox(frame, adapted.input)
        found = [x[0] for x in graph.run(None, {"frames": pixels[None]})]
        used = found[1] >= THRESHOLD
        total += len(scores)

        assert used.sum() == len(scores)
        for box, score, label in zip(boxes, scores, labels, strict=True):
            # Equal scores may come in any order.
            apart = np.abs(found[0] - box).max(1) + (found[2] != label) * 1e3
            assert apart.min() <= 0.05
            assert abs(found[1][apart.argmin()] - score) <= 1e-3
    assert total >= 10
