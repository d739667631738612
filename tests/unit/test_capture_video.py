"""What OpenCV is asked for, for each kind of source and each of its releases."""

from types import SimpleNamespace

import pytest

from edge.capture.source import parse_source
from edge.capture.video import _parameters, what_to_open

NEW = {"CAP_PROP_OPEN_TIMEOUT_MSEC": 53, "CAP_PROP_READ_TIMEOUT_MSEC": 54, "CAP_PROP_N_THREADS": 70}
OLD = {name: number for name, number in NEW.items() if number != 70}


@pytest.mark.parametrize(
    ("version", "constants", "backend", "asked_for"),
    [
        ("4.8.0", NEW, "FFMPEG", {53: 10000, 54: 5000, 70: 2}),
        ("5.0.0", NEW, "FFMPEG", {53: 10000, 54: 5000, 70: 2}),
        ("4.6.0", OLD, "FFMPEG", {53: 10000, 54: 5000}),
        ("4.8.0", NEW, "GSTREAMER", {53: 10000, 54: 5000}),
        ("4.10.0-dev", NEW, "GSTREAMER", {53: 10000, 54: 5000}),
        ("4.6.0", OLD, "GSTREAMER", {}),
        ("4.8.0", NEW, "V4L2", {}),
    ],
)
def test_only_what_a_release_understands_is_asked_for(version, constants, backend, asked_for):
    cv2 = SimpleNamespace(__version__=version, **constants)
    flat = _parameters(cv2, backend)

    assert dict(zip(flat[::2], flat[1::2], strict=True)) == asked_for


@pytest.mark.parametrize(
    ("uri", "opens"),
    [
        ("file:///a%20b.mp4?loop=1", "/a b.mp4"),
        ("rtsp://u:p%40@cam/x?y=1", "rtsp://u:p%40@cam/x?y=1"),
        ("v4l2:///dev/video0?width=640", "/dev/video0"),
        ("gst://videotestsrc ! appsink", "videotestsrc ! appsink"),
        (
            "gst://videotestsrc",
            (
                "videotestsrc ! videoconvert ! video/x-raw,format=BGR ! "
                "appsink drop=true max-buffers=1 sync=false"
            ),
        ),
        (
            "csi://1?width=1280&height=720&fps=29.97",
            (
                "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),width=1280,height=720,"
                "framerate=2997/100 ! nvvidconv ! video/x-raw,format=BGRx ! videoconvert ! "
                "video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
            ),
        ),
    ],
)
def test_opencv_is_told_what_to_open(uri, opens):
    assert what_to_open(parse_source(uri)) == opens
