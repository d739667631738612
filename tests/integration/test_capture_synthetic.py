"""The shelf world as a camera like any other."""

import pytest

from edge.capture.camera import Camera
from edge.config import AisleView, CameraConfig
from tests.integration.broker import wait_until

pytestmark = pytest.mark.needs("cv2")


def test_a_synthetic_camera_brings_frames_at_its_pace_and_goes_blind_when_told():
    frames = []
    uri = "synthetic://shelf?seed=3&width=320&height=240&fps=10&blind_after=3"
    config = CameraConfig(name="s", source=uri, fps=10, aisles=(AisleView(id="07"),))
    camera = Camera(config, frames.append)
    camera.check()
    camera.start()
    try:
        wait_until(lambda: camera.status().state == "streaming", what="it sees")
        wait_until(lambda: camera.status().state == "blind", what="it is dark")
    finally:
        camera.stop(2)
    seeing = [frame for frame in frames if frame.stamp.blindness is None]
    seconds = seeing[-1].stamp.monotonic_s - seeing[0].stamp.monotonic_s
    assert len(seeing) / seconds == pytest.approx(10, rel=0.3)
    assert seeing[0].image.shape == (240, 320, 3)
