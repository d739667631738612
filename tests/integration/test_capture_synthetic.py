"""The shelf world as a camera like any other."""

import pytest

from edge.capture.camera import Camera
from edge.config import CameraConfig
from edge.frame import Blindness
from tests.integration.broker import wait_until

pytestmark = pytest.mark.needs("cv2")


def test_a_synthetic_camera_keeps_its_pace_and_goes_blind_when_told():
    stamps, shapes = [], set()

    def deliver(frame):
        stamps.append(frame.stamp)
        shapes.add(frame.image.shape)

    uri = "synthetic://shelf?seed=3&width=320&height=240&fps=10&blind_after=3"
    camera = Camera(CameraConfig(name="s", source=uri, fps=10, aisles=[{"id": "07"}]), deliver)
    camera.check()
    camera.start()
    try:
        wait_until(lambda: camera.status().state == "streaming", what="it sees")
        wait_until(lambda: camera.status().state == "blind", what="it is dark")
        wait_until(lambda: stamps[-1].number > 40, what="it has faded out")
    finally:
        camera.stop(2)

    assert shapes == {(240, 320, 3)}
    assert {stamp.blindness for stamp in stamps if stamp.number < 30} == {None}
    assert {stamp.blindness for stamp in stamps if stamp.number > 35} == {Blindness.DARK}, "faded"
    # A busy machine may be late; nobody is early.
    assert stamps[-1].monotonic_s - stamps[0].monotonic_s > 0.9 * stamps[-1].number / 10
