"""A camera that drives past the markers of two aisles, from its pictures to a real broker."""

import cv2
import numpy as np
import pytest

from tests.integration.broker import DURABLE, Mosquitto, Subscriber, wait_until
from tests.integration.daemon import Daemon, paint_video, write_config

pytestmark = pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx")

TWO_BOXES, ONE_CAN = (255, 0, 200, 0), (0, 255, 0, 0)
FRAMES, FPS = 60, 20
MARKERS = {"07": 7, "08": 18}


def paint_drive(folder):
    """Write a video of a robot that stands 3 s in aisle 07, then 3 s in aisle 08."""
    plain = paint_video(folder / "plain.mp4", TWO_BOXES, ONE_CAN, frames=FRAMES, fps=FPS)
    reader = cv2.VideoCapture(str(plain))
    path = folder / "drive.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), FPS, (320, 240))
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    for number in range(2 * FRAMES):
        _, image = reader.read()
        marker = cv2.aruco.generateImageMarker(
            family, MARKERS["07" if number < FRAMES else "08"], 64
        )
        image[150:230, 220:300] = np.pad(marker, 8, constant_values=255)[..., None]
        writer.write(image)
    reader.release()
    writer.release()
    return path


@pytest.fixture
def subscriber(mosquitto, tmp_path):
    with Mosquitto(mosquitto, tmp_path, DURABLE) as broker, Subscriber(broker.port) as listening:
        camera = {
            "name": "mast",
            "source": f"file://{paint_drive(tmp_path)}?loop=1&realtime=1",
            "fps": 10,
            "aisles": [{"id": aisle, "markers": [number]} for aisle, number in MARKERS.items()],
            "aisles_by": {"markers": "apriltag_36h11"},
        }
        with Daemon(write_config(tmp_path, broker.port, "", cameras=[camera])):
            yield listening


def told(subscriber, aisle):
    """Return what was told of an aisle, in order: why it is unknown, or what stands there."""
    return [
        body["reason"] or body["counts"]
        for body in subscriber.of("state")
        if body["aisle"] == aisle
    ]


def test_each_aisle_is_told_what_stands_in_it_and_the_one_left_is_out_of_view(subscriber):
    wait_until(lambda: {"box": 2} in told(subscriber, "07"), what="07 has two boxes")
    wait_until(lambda: {"can": 1} in told(subscriber, "08"), what="08 has a can")
    wait_until(lambda: told(subscriber, "07")[-1] == "out_of_view", what="07 is out of view")

    left = [body for body in subscriber.of("state") if body["aisle"] == "07"][-1]
    assert left["last_seen"]["counts"] == {"box": 2}
    assert left["cameras"][0]["reason"] == "out_of_view"
    known = {
        aisle: [s for s in told(subscriber, aisle) if isinstance(s, dict)] for aisle in MARKERS
    }
    assert known["07"] in ([{"box": 2}] * n for n in range(1, 9))
    assert known["08"] in ([{"can": 1}] * n for n in range(1, 9))
    assert {
        d["aisle"]: {o["label"] for o in d["objects"]} for d in subscriber.of("detections")
    } == {
        "07": {"box"},
        "08": {"can"},
    }
