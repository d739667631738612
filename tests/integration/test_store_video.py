"""A real store's ceiling camera, a real YOLO: are people reported in the right aisle, as in float?

The reference knows nothing of this project: the float model, run by hand on the decoded video, with
OpenCV's own NMS.
"""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from edge.detections import Detections
from edge.detector.agreement import match
from edge.detector.bundle import load_bundle
from tests.integration.broker import DURABLE, Mosquitto, Subscriber, wait_until
from tests.integration.daemon import Daemon, write_config

THRESHOLD = 0.25
SPLIT = 960  # the aisles' border, pixels of the 1080p frame

pytestmark = [
    pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx", "shared-data"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def bundle(shared_data, tmp_path_factory):
    out = tmp_path_factory.mktemp("store") / "yolo11n"
    media = shared_data / "media"
    command = [sys.executable, "-m", "engines.cli", str(shared_data / "models/yolo11n_320.onnx")]
    for images in ("retail_store_1080p.mp4", "person_432p.mp4", "warehouse_boxes"):
        command += ["--images", str(media / images)]
    # What serves here is the portable graph; the search has its own tests.
    command += ["--runtime", "onnxruntime", "--no-search", "--allow-drop", "--out", str(out)]
    subprocess.run(command, check=True, timeout=280)
    return load_bundle(out)


def by_hand(model, frames, iou):
    """Return the float model's detections, frame number -> Detections, in frame pixels."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return {number: _decoded(session, frame, iou) for number, frame in frames.items()}


def _decoded(session, frame, iou):
    scale = 320 / 1920
    canvas = np.full((320, 320, 3), 114, np.uint8)
    canvas[70:250] = cv2.resize(frame, (320, 180))
    tensor = canvas[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    rows = session.run(None, {session.get_inputs()[0].name: tensor})[0][0].T
    labels, scores = rows[:, 4:].argmax(1), rows[:, 4:].max(1)
    corner = rows[:, :2] - rows[:, 2:4] / 2
    boxes = np.hstack([corner, rows[:, 2:4]])
    kept = cv2.dnn.NMSBoxesBatched(boxes.tolist(), scores.tolist(), labels.tolist(), THRESHOLD, iou)
    kept = np.array(kept, int).reshape(-1)
    xyxy = np.hstack([corner, corner + rows[:, 2:4]])[kept]
    xyxy = np.clip((xyxy - [0, 70, 0, 70]) / scale, 0, [1920, 1080, 1920, 1080])
    return Detections(
        xyxy.astype(np.float32), scores[kept].astype(np.float32), labels[kept].astype(np.int32)
    )


def told(observations, labels):
    """Return what was published, frame number -> (Detections, each object's aisle)."""
    frames = {}
    for body in observations:
        for seen in body["objects"]:
            frames.setdefault(body["frame"]["number"], []).append((seen, body["aisle"]))
    return {
        number: (
            Detections(
                np.float32([seen["xyxy"] for seen, _ in rows]),
                np.float32([seen["score"] for seen, _ in rows]),
                np.int32([labels.index(seen["label"]) for seen, _ in rows]),
            ),
            [aisle for _, aisle in rows],
        )
        for number, rows in frames.items()
    }


def video_frames(path, numbers):
    """Return the frames of these numbers, decoded."""
    capture = cv2.VideoCapture(str(path))
    wanted, frames, number = set(numbers), {}, 0
    while capture.grab() and len(frames) < len(wanted):
        if number in wanted:
            frames[number] = capture.retrieve()[1]
        number += 1
    return frames


@pytest.fixture(scope="module")
def published(bundle, shared_data, mosquitto, tmp_path_factory):
    """Run the daemon over the whole video, two frames per second of it, and return what it told."""
    folder = tmp_path_factory.mktemp("daemon")
    video = shared_data / "media/retail_store_1080p.mp4"
    with Mosquitto(mosquitto, folder, DURABLE) as broker, Subscriber(broker.port) as subscriber:
        config = write_config(
            folder,
            broker.port,
            f"file://{video}",
            bundle=str(bundle.path),
            publish={"detections_per_second": 240},
        )
        config.write_text(config.read_text().replace("fps: 10", "fps: 2"))
        with Daemon(config) as daemon:
            ended = lambda: [b for b in subscriber.of("camera") if "end of" in b["detail"]]  # noqa: E731
            wait_until(lambda: ended() or daemon.process.poll() is not None, 60, "the end")
            assert ended(), daemon.log
            assert daemon.terminate()[0] == 0
        wait_until(lambda: subscriber.of("status")[-1]["reason"] == "stopped")
    observations = subscriber.of("detections")
    numbers = sorted({body["frame"]["number"] for body in observations})
    frames = video_frames(video, numbers)
    reference = by_hand(shared_data / "models/yolo11n_320.onnx", frames, bundle.passport.iou)
    return reference, told(observations, bundle.labels)


def pairs(published):
    """Return (reference, its index, found, its index, aisle) of every object found again."""
    reference, found = published
    return [
        (reference[number], r, seen, f, aisles[f])
        for number, (seen, aisles) in found.items()
        for r, f, _ in match(reference[number], seen)
    ]


def test_every_frame_of_the_video_was_looked_at(published):
    reference, _ = published
    assert len(reference) == pytest.approx(2 * 603 / 30, abs=2)


def test_people_are_reported_in_the_right_aisle(published, bundle):
    person = bundle.labels.index("person")
    people = [
        (reference.xyxy[r], aisle)
        for reference, r, _, _, aisle in pairs(published)
        if reference.labels[r] == person
    ]
    assert len(people) > 50
    middle = np.array([(box[0] + box[2]) / 2 for box, _ in people])
    clear = np.abs(middle - SPLIT) > 10  # a box that moves by a pixel may cross the border
    expected = np.where(middle < SPLIT, "left", "right")
    assert (expected == [aisle for _, aisle in people])[clear].all()


def test_boxes_and_scores_are_the_float_models(published):
    """The network sees this picture at a sixth of its size: half a pixel there is three here."""
    rows = pairs(published)
    shift = np.mean([np.abs(a.xyxy[r] - b.xyxy[f]).mean() for a, r, b, f, _ in rows])
    score = np.mean([abs(a.scores[r] - b.scores[f]) for a, r, b, f, _ in rows])
    print(f"{len(rows)} objects: mean shift {shift:.2f} px of 1920, mean score shift {score:.4f}")
    assert shift / 6 <= 0.5
    assert score <= 0.05


def test_nearly_all_of_the_float_models_detections_are_told(published):
    reference, _ = published
    total = sum(len(detections) for detections in reference.values())
    assert len(pairs(published)) >= 0.9 * total
