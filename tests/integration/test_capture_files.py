"""Recordings as sources, through the real OpenCV: video files and folders of pictures."""

from __future__ import annotations

import itertools
import logging
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from edge.capture.camera import Camera
from edge.capture.mailbox import Mailbox
from edge.capture.reader import EndOfSource
from edge.capture.readers import open_reader
from edge.capture.source import parse_source
from edge.config import CameraConfig
from edge.errors import CaptureError, MissingPackage, SourceError
from edge.frame import Blindness
from tests.fakes.camera import picture, pictures

pytestmark = pytest.mark.needs("cv2")

FPS = 20
ROOT = Path(__file__).parents[2]


def camera(uri, deliver, fps=240.0):
    return Camera(CameraConfig(name="a", source=uri, fps=fps, aisles=[{"id": "1"}]), deliver)


def until(condition, timeout=20):
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def play(uri, fps=240.0):
    """Play a recording to its end; return its frames and the last status."""
    frames = []
    playing = camera(uri, lambda frame: frames.append(frame) or False, fps)
    playing.check()
    playing.start()
    try:
        until(lambda: playing.ended)
        return frames, playing.status()
    finally:
        playing.stop(5)


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A clip of 60 different pictures, 320 x 240, that stays readable when it is cut off."""
    import cv2

    path = tmp_path_factory.mktemp("clips") / "a clip (50%).avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), FPS, (320, 240))
    assert writer.isOpened()
    for image in itertools.islice(pictures(), 60):
        writer.write(cv2.resize(image, (320, 240), interpolation=cv2.INTER_NEAREST))
    writer.release()
    return path


@pytest.fixture
def folder(tmp_path):
    import cv2

    for n in range(5):
        cv2.imwrite(str(tmp_path / f"{n}.png"), picture(n))
    return tmp_path


def test_every_frame_of_a_file_is_delivered_in_order_and_then_it_has_ended(clip):
    frames, status = play(clip.as_uri())

    assert [frame.stamp.number for frame in frames] == list(range(60))
    assert frames[0].stamp.resolution_wh == (320, 240)
    assert status.blindness is Blindness.STALLED
    assert status.detail.endswith("end of the recording")
    assert status.reopened == 0


def test_the_frames_that_a_budget_asks_for_are_chosen_by_media_time(clip):
    frames, _ = play(clip.as_uri(), fps=5)

    assert [frame.stamp.number for frame in frames] == list(range(0, 60, 4))


def test_delivered_pictures_are_the_clips_and_stay_as_they_are(clip):
    import cv2

    frames, _ = play(clip.as_uri())

    def differs(n, other):
        drawn = cv2.resize(picture(other), (320, 240), interpolation=cv2.INTER_NEAREST)
        return np.abs(frames[n].image.astype(int) - drawn).mean()

    for n in (0, 1, 30, 59):
        assert differs(n, n) < 10
        assert differs(n, n + 1) > 40


def test_a_file_waits_for_its_consumer_and_loses_nothing(clip):
    mailbox = Mailbox(["a"])
    playing = camera(clip.as_uri(), lambda f: not mailbox.put_wait("a", f.stamp.number, 10))
    playing.start()
    taken = []
    while len(taken) < 60:
        time.sleep(0.005)
        taken += [number for _, number in mailbox.take(1, timeout=5)]
    playing.stop(5)

    assert taken == list(range(60))
    assert playing.status().dropped == 0


def test_a_looping_file_goes_on_without_counting_as_reopened(clip):
    numbers = []
    playing = camera(clip.as_uri() + "?loop=1", lambda frame: numbers.append(frame.stamp.number))
    playing.start()
    until(lambda: len(numbers) > 150)
    playing.stop(5)

    assert numbers[:150] == list(range(150))
    assert playing.status().reopened == 0


@pytest.mark.parametrize("can_go_back", [True, False])
def test_a_looping_file_starts_over_with_its_first_picture(clip, tmp_path, can_go_back):
    import cv2

    path = clip
    if not can_go_back:  # pictures one after the other, without an index
        path = tmp_path / "raw.mjpeg"
        path.write_bytes(
            b"".join(cv2.imencode(".jpg", picture(number))[1].tobytes() for number in range(60))
        )
    reader = open_reader(parse_source(path.as_uri() + "?loop=1"))
    try:
        shown = [(reader.grab(), reader.retrieve()) for _ in range(150)]
    finally:
        reader.close()

    assert (np.diff([time_s for time_s, _ in shown]) > 0).all()
    for index in (0, 1, 29):
        np.testing.assert_array_equal(shown[index][1], shown[index + 60][1])
        np.testing.assert_array_equal(shown[index][1], shown[index + 120][1])
    assert not np.array_equal(shown[0][1], shown[1][1])


def test_a_looping_file_keeps_to_its_budget_over_the_seam(clip):
    numbers = []
    uri = clip.as_uri() + "?loop=1"
    playing = camera(uri, lambda frame: numbers.append(frame.stamp.number), fps=5)
    playing.start()
    until(lambda: len(numbers) > 45)
    playing.stop(5)

    assert set(np.diff(numbers[:45])) == {4}


def test_a_file_played_in_real_time_takes_its_time(clip):
    began = time.monotonic()
    frames, _ = play(clip.as_uri() + "?realtime=1", fps=10)

    assert time.monotonic() - began > 2.8
    assert len(frames) == 30
    gaps = np.diff([frame.stamp.monotonic_s for frame in frames])
    assert np.median(gaps) > 0.08, "spread over that time, not in heaps"


def test_a_file_cut_off_midway_is_played_up_to_there_and_that_is_said(clip, tmp_path, caplog):
    cut = tmp_path / "cut.avi"
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    frames, status = play(cut.as_uri())

    assert 20 < len(frames) < 40
    assert status.blindness is Blindness.STALLED
    assert "frames: it is damaged or cut off" in caplog.text


@pytest.mark.parametrize("content", [b"", b"not a video\n" * 999, bytes(range(256)) * 400])
def test_a_file_that_is_no_video_is_refused_at_the_start(tmp_path, content):
    path = tmp_path / "bad.mp4"
    path.write_bytes(content)

    with pytest.raises(SourceError, match=r"bad\.mp4: not a video that OpenCV can decode; check"):
        camera(path.as_uri(), print).check()


def test_a_file_without_its_index_is_refused_at_the_start(shared_data, tmp_path):
    path = tmp_path / "cut.mp4"
    whole = (shared_data / "media" / "bottle_360p.mp4").read_bytes()
    path.write_bytes(whole[:2000])

    with pytest.raises(SourceError, match="not a video"):
        camera(path.as_uri(), print).check()


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("file:///nowhere/clip.mp4", "does not exist"),
        ("file:///tmp", "is a directory"),
        ("images:///nowhere/photos", "No such file or directory"),
        ("images:///etc/hostname", "Not a directory"),
    ],
)
def test_a_recording_that_is_not_there_is_refused_at_the_start(uri, says):
    with pytest.raises(SourceError, match=says):
        camera(uri, print).check()


def test_nothing_of_opencv_reaches_stderr(tmp_path):
    path = tmp_path / "bad.mp4"
    path.write_bytes(b"no video" * 100)
    program = (
        "import sys\n"
        "from edge.capture.readers import open_reader\n"
        "from edge.capture.source import parse_source\n"
        "from edge.errors import CaptureError\n"
        "for uri in sys.argv[1:]:\n"
        "    try: open_reader(parse_source(uri))\n"
        "    except CaptureError as error: print(error)\n"
    )
    uris = [path.as_uri(), "rtsp://admin:hunter2@127.0.0.1:1/x", "v4l2:///dev/video99"]
    ended = subprocess.run(
        [sys.executable, "-c", program, *uris],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )

    assert ended.stderr == ""
    assert len(ended.stdout.splitlines()) == 3
    assert "hunter2" not in ended.stdout


def test_every_picture_of_a_folder_is_delivered_in_the_order_of_the_names(folder):
    frames, _ = play(f"images://{folder}", fps=5)

    assert len(frames) == 5
    for n, frame in enumerate(frames):
        assert np.array_equal(frame.image, picture(n))


def test_a_folder_can_have_a_frame_rate_of_its_own(folder):
    frames, _ = play(f"images://{folder}?fps=10", fps=5)

    assert [frame.stamp.number for frame in frames] == [0, 2, 4]


def test_a_picture_that_cannot_be_read_is_named_counted_and_skipped(folder, caplog):
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:40])
    (folder / "notes.txt").write_text("not a picture")
    frames, _ = play(f"images://{folder}")
    told = [record.message for record in caplog.records if "skipped" in record.message]

    assert [np.array_equal(f.image, picture(n)) for n, f in zip((0, 1, 3, 4), frames, strict=True)]
    assert len(told) == 1
    assert "2.png" in told[0]
    assert "(1 so far)" in told[0]


def too_large(path):
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    size = struct.pack(">I", len(header))
    chunk = size + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)


@pytest.mark.parametrize("spoil", [Path.touch, Path.mkdir, os.mkfifo, too_large])
def test_a_looping_folder_names_a_bad_picture_once(folder, caplog, spoil):
    (folder / "2.png").unlink()
    spoil(folder / "2.png")
    frames = []
    playing = camera(f"images://{folder}?loop=1", lambda frame: frames.append(frame.stamp))
    playing.start()
    until(lambda: len(frames) > 40)
    playing.stop(5)

    assert caplog.text.count("2.png") == 1


def test_a_folder_without_a_readable_picture_is_refused_at_the_start(tmp_path):
    with pytest.raises(SourceError, match=r"holds no picture; pictures end in \.jpg"):
        camera(f"images://{tmp_path}", print).check()
    (tmp_path / "a.jpg").write_bytes(b"?")
    with pytest.raises(SourceError, match="none of its 1 pictures can be read"):
        camera(f"images://{tmp_path}", print).check()


def test_a_picture_that_vanishes_is_named_once_and_one_that_comes_back_is_read(folder, caplog):
    reader = open_reader(parse_source(f"images://{folder}?loop=1"))
    away = folder.with_name("away.png")
    (folder / "2.png").rename(away)
    for _ in range(3 * 4):
        reader.grab()
    away.rename(folder / "2.png")
    seen = [reader.grab() and reader.retrieve() for _ in range(5)]

    assert any(np.array_equal(image, picture(2)) for image in seen)
    assert [record.message for record in caplog.records] == [
        f"{folder / '2.png'}: No such file or directory, skipped (1 so far); remove or replace it"
    ]


def test_a_looping_folder_that_loses_its_pictures_fails_instead_of_spinning(folder):
    reader = open_reader(parse_source(f"images://{folder}?loop=1"))
    reader.grab()
    for path in folder.iterdir():
        path.write_bytes(b"")

    with pytest.raises(CaptureError, match="can be read any more"):
        reader.grab()


def test_a_reader_says_that_a_recording_is_over(folder):
    reader = open_reader(parse_source(f"images://{folder}"))
    times = [reader.grab() for _ in range(5)]

    assert times == [0, 1, 2, 3, 4]
    with pytest.raises(EndOfSource):
        reader.grab()


def test_a_device_that_is_missing_is_no_reason_not_to_start_and_is_named(caplog):
    waiting = camera("v4l2:///dev/video99", print)
    waiting.check()
    waiting.start()
    until(lambda: waiting.status().detail)
    status = waiting.status()
    waiting.stop(5)

    assert status.blindness is Blindness.STARTING
    assert "v4l2:///dev/video99: does not exist; check the cable" in status.detail
    assert status.detail in caplog.text


def test_a_device_that_is_no_camera_is_named(tmp_path):
    with pytest.raises(CaptureError, match="/dev/null: cannot be opened"):
        open_reader(parse_source("v4l2:///dev/null"))


@pytest.mark.parametrize("uri", ["csi://0", "gst://videotestsrc num-buffers=30"])
def test_a_pipeline_without_gstreamer_is_refused_and_told_what_to_install(uri):
    import cv2

    if cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER):
        pytest.skip("this OpenCV has GStreamer")
    with pytest.raises(MissingPackage, match=r"needs an OpenCV with GSTREAMER.*apt install"):
        camera(uri, print).check()


def test_a_pipeline_is_read_by_an_opencv_with_gstreamer():
    # The wheel has none; Debian's python3-opencv, and JetPack's, are for the system's Python.
    python = "/usr/bin/python3"
    probe = "import cv2; print(cv2.videoio_registry.hasBackend(cv2.CAP_GSTREAMER))"
    if not Path(python).exists() or _output(python, probe) != "True":
        pytest.skip("needs Debian's python3-opencv")
    program = (
        "from edge.capture.readers import check, open_reader\n"
        "from edge.capture.source import parse_source\n"
        "source = parse_source('gst://videotestsrc ! video/x-raw,width=64,height=48')\n"
        "check(source)\n"
        "reader = open_reader(source)\n"
        "times = [reader.grab() for _ in range(5)]\n"
        "print(times == sorted(set(times)), reader.retrieve().shape)\n"
    )

    assert _output(python, program) == "True (48, 64, 3)"


def _output(python, program):
    ended = subprocess.run(
        [python, "-c", program], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False
    )
    return ended.stdout.strip() or ended.stderr[-500:]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(clip, tmp_path):
    path = tmp_path / "secret.avi"
    path.write_bytes(clip.read_bytes())
    path.chmod(0)

    with pytest.raises(SourceError, match="permission denied"):
        camera(path.as_uri(), print).check()


def test_real_footage_is_seen_and_keeps_to_the_budget(shared_data, caplog):
    caplog.set_level(logging.WARNING)
    frames, _ = play((shared_data / "media" / "person_432p.mp4").as_uri(), fps=5)

    assert len(frames) == 697  # 139.4 s
    assert {frame.stamp.blindness for frame in frames} == {None}
    assert caplog.text == ""
