"""What OpenCV is asked for, for each kind of source and each of its releases."""

import contextlib
import re
from types import SimpleNamespace

import numpy as np
import pytest

from edge.capture.reader import EndOfSource
from edge.capture.source import parse_source
from edge.capture.video import VideoReader, _parameters, what_to_open

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


@pytest.mark.needs("cv2")
def test_pictures_of_a_file_that_cannot_be_decoded_do_not_end_it(tmp_path, caplog):
    path = tmp_path / "clip.avi"
    _write_clip(path, pictures=12)
    _damage(path, 5, 6)
    reader = VideoReader(parse_source(path.as_uri()))

    times = []
    with contextlib.suppress(EndOfSource):
        while True:
            times.append(reader.grab())
    reader.close()

    assert len(times) == 10
    assert times[-1] == pytest.approx(1.1)
    assert "clip.avi: after 5 pictures: it is damaged: pictures that cannot" in caplog.text


@pytest.mark.needs("cv2")
def test_a_file_whose_first_picture_is_damaged_is_looped(tmp_path):
    path = tmp_path / "clip.avi"
    _write_clip(path, pictures=12)
    _damage(path, 0)
    reader = VideoReader(parse_source(path.as_uri() + "?loop=1"))

    times = [reader.grab() for _ in range(36)]
    reader.close()

    assert times == sorted(set(times))


@pytest.mark.needs("cv2")
def test_a_spliced_recording_is_played_on_without_the_gap(tmp_path, monkeypatch, caplog):
    path = tmp_path / "clip.avi"
    _write_clip(path, pictures=12)
    reader = VideoReader(parse_source(path.as_uri() + "?realtime=1"))
    written_ms = reader._position_ms
    monkeypatch.setattr(
        reader, "_position_ms", lambda: written_ms() + (3_600_000 if written_ms() > 550 else 0)
    )

    times = [reader.grab() for _ in range(12)]
    reader.close()

    assert times == pytest.approx([n / 10 for n in range(12)])
    assert caplog.text.count("realtime=1: after 7 pictures: its time jumps ahead;") == 1


def _write_clip(path, pictures):
    import cv2

    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for n in range(pictures):
        writer.write(np.full((48, 64, 3), 20 * n, np.uint8))
    writer.release()


def _damage(path, *pictures):
    content = bytearray(path.read_bytes())
    begins = [part.start() for part in re.finditer(rb"\xff\xd8\xff", content)]
    for n in pictures:
        content[begins[n] : begins[n] + 200] = bytes(200)
    path.write_bytes(content)
