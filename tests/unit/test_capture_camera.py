"""A camera's thread: what it delivers, what it says of itself, and how it comes back."""

import logging
import threading
import time
from itertools import chain, islice

import numpy as np
import pytest

from edge.capture import camera as camera_module
from edge.capture.camera import Camera
from edge.capture.pacing import Backoff
from edge.config import CameraConfig
from edge.errors import CaptureError, SourceError
from edge.frame import Blindness
from tests.fakes.camera import FakeOpener, picture, pictures

pytestmark = pytest.mark.needs("cv2")

LIVE = "rtsp://admin:hunter2@cam/stream"
RECORDED = "file:///clip.mp4"
LATE = picture(1_000_000)


class Watched:
    """A camera on a fake source, and the frames that it delivered."""

    def __init__(self, *openings, source=LIVE, fps=200.0, lost=None, stuck_s=20.0):
        self.frames = []
        self.opener = FakeOpener(*openings)
        self.camera = Camera(
            CameraConfig(name="a07", source=source, fps=fps, aisles=[{"id": "07"}]),
            self._deliver,
            opener=self.opener,
            stuck_s=stuck_s,
            backoff=Backoff(0.01, 0.02),
        )
        self._lost = lost

    def _deliver(self, frame):
        self.frames.append(frame)
        return self._lost

    def __enter__(self):
        self.camera.start()
        return self

    def __exit__(self, *_):
        self.camera.stop(5)

    def until(self, condition):
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, self.camera.status()
            time.sleep(0.005)


def some(count):
    return islice(pictures(), count)


def slowly(images, every_s=0.01):
    for image in images:
        time.sleep(every_s)
        yield image


def test_a_frame_says_which_camera_when_and_how_large():
    before = time.monotonic()
    with Watched(slowly(pictures())) as seen:
        seen.until(lambda: len(seen.frames) >= 3)
    frame = seen.frames[1]

    assert frame.stamp.camera == "a07"
    assert frame.stamp.resolution_wh == (96, 64)
    assert before < frame.stamp.monotonic_s < time.monotonic()
    assert frame.stamp.captured_at.utcoffset().total_seconds() == 0
    assert frame.stamp.blindness is None


def test_frames_are_numbered_with_those_nobody_looks_at():
    with Watched(some(100), source=RECORDED, fps=2) as seen:
        seen.until(lambda: seen.camera.status().detail)

    assert [frame.stamp.number for frame in seen.frames] == list(range(0, 100, 5))


def test_a_frame_is_not_overwritten_by_the_next():
    with Watched(some(5), source=RECORDED) as seen:
        seen.until(lambda: len(seen.frames) == 5)

    for seed, frame in enumerate(seen.frames):
        assert np.array_equal(frame.image, picture(seed))


def test_a_camera_starts_out_as_starting():
    gate = threading.Event()
    with Watched([gate]) as seen:
        status = seen.camera.status()
        gate.set()

    assert status.blindness is Blindness.STARTING
    assert status.state == "stalled"


def test_a_camera_that_does_not_come_up_is_stalled(monkeypatch):
    monkeypatch.setattr(camera_module, "STARTING_S", 0.1)
    with Watched() as seen:
        seen.until(lambda: seen.camera.status().blindness is Blindness.STALLED)

        assert "fake: gone" in seen.camera.status().detail


def test_a_camera_that_sees_is_streaming():
    with Watched(slowly(pictures())) as seen:
        seen.until(lambda: seen.camera.status().fps > 10)
        status = seen.camera.status()

    assert (status.state, status.blindness, status.detail) == ("streaming", None, "")


def test_a_camera_whose_read_hangs_is_stalled_although_nothing_fails(monkeypatch):
    monkeypatch.setattr(camera_module, "STALLED_S", 0.1)
    gate = threading.Event()
    with Watched(chain(slowly(some(3)), [gate])) as seen:
        seen.until(lambda: seen.camera.status().blindness is Blindness.STALLED)
        gate.set()

    assert len(seen.frames) == 3


def test_a_camera_that_fails_is_opened_again_and_that_is_counted():
    with Watched(some(3), CaptureError("fake: refused"), slowly(pictures())) as seen:
        seen.until(lambda: seen.camera.status().reopened == 1)
        seen.until(lambda: seen.camera.status().detail == "")

    assert seen.opener.attempts == 3
    assert seen.opener.readers[0].closed


def test_frame_numbers_go_on_when_a_camera_comes_back():
    with Watched(some(3), slowly(pictures())) as seen:
        seen.until(lambda: len(seen.frames) > 5)
    numbers = [frame.stamp.number for frame in seen.frames]

    assert numbers == sorted(set(numbers))


def test_the_cause_stands_in_the_status_while_it_lasts_and_in_the_log_once(caplog):
    caplog.set_level(logging.INFO)
    with Watched(some(3)) as seen:
        seen.until(lambda: seen.opener.attempts > 10)
        detail = seen.camera.status().detail
    told = [record.message for record in caplog.records if "fake: gone" in record.message]

    assert detail == "fake: gone; nothing to be done"
    assert len(told) == 1
    assert "trying again" in told[0]


def test_causes_that_take_turns_are_told_once_each(caplog):
    caplog.set_level(logging.WARNING)
    turns = [CaptureError(f"fake: cause {number % 2}") for number in range(12)]
    with Watched(*turns) as seen:
        seen.until(lambda: seen.opener.attempts == 12)

    told = [record.message.split(";")[0] for record in caplog.records]
    assert told[:2] == ["camera a07: fake: cause 0", "camera a07: fake: cause 1"]
    assert sum("cause" in line for line in told) == 2


def test_an_old_cause_is_told_again_now_and_then(caplog):
    caplog.set_level(logging.WARNING)
    with Watched() as seen:
        seen.until(lambda: seen.opener.attempts > 45)

    assert len([r for r in caplog.records if "fake: gone" in r.message]) == 3


def test_a_read_that_is_stuck_is_given_up_and_its_late_frame_is_nobodys(caplog):
    gate = threading.Event()
    stuck = [picture(1), gate, LATE, LATE]
    with Watched(stuck, slowly(pictures(), 0.05), stuck_s=0.3) as seen:
        seen.until(lambda: seen.camera.status().reopened == 1)
        late = seen.opener.readers[0]
        gate.set()
        seen.until(lambda: late.closed)

    assert "its thread is given up" in caplog.text
    assert not any(np.array_equal(frame.image, LATE) for frame in seen.frames)


def test_stuck_threads_do_not_pile_up(caplog):
    gate = threading.Event()
    with Watched(*[[gate]] * 10, stuck_s=0.05) as seen:
        seen.until(lambda: "3 threads are stuck" in seen.camera.status().detail)
        time.sleep(0.6)
        attempts = seen.opener.attempts
        gate.set()
        seen.until(lambda: seen.opener.attempts > attempts)

    assert attempts == 3


def test_a_camera_is_not_stuck_while_its_consumer_makes_it_wait():
    release = threading.Event()
    seen = Watched(some(5), source=RECORDED, stuck_s=0.1)
    seen.camera._deliver = lambda _: release.wait(10) and None
    with seen:
        time.sleep(0.6)
        status = seen.camera.status()
        release.set()
        seen.until(lambda: seen.camera.ended)

    assert status.blindness is None
    assert seen.opener.attempts == 1


def test_losses_told_by_the_consumer_are_counted():
    with Watched(some(4), source=RECORDED, lost=True) as seen:
        seen.until(lambda: seen.camera.status().dropped == 4)


def test_a_recording_that_fails_midway_does_not_start_over(caplog):
    with Watched(some(4), some(4), source=RECORDED) as seen:
        seen.until(lambda: seen.camera.ended)
        status = seen.camera.status()

    assert seen.opener.attempts == 1
    assert status.blindness is Blindness.STALLED
    assert "fake: the stream broke off" in status.detail
    assert "the stream broke off" in caplog.text


def test_a_mistake_of_our_own_is_logged_with_its_trace_and_survived(caplog):
    boom = RuntimeError("cannot reach rtsp://admin:hunter2@cam/stream")
    with Watched([picture(), boom], slowly(pictures())) as seen:
        seen.until(lambda: seen.camera.status().reopened == 1)

    assert "RuntimeError" in caplog.text
    assert "Traceback" in caplog.text
    assert "hunter2" not in caplog.text


def test_no_password_is_in_any_log_line_or_status(caplog):
    caplog.set_level(logging.DEBUG)
    with Watched(some(3), stuck_s=0.1) as seen:
        seen.until(lambda: seen.opener.attempts > 3)
        status = seen.camera.status()

    assert "hunter2" not in caplog.text + repr(status) + repr(seen.camera.source)


def test_stopping_is_quick_even_while_it_waits_to_try_again():
    seen = Watched()
    seen.camera._backoff = Backoff(60, 60)
    with seen:
        seen.until(lambda: seen.opener.attempts == 1)
        began = time.monotonic()
        seen.camera.stop(5)

    assert time.monotonic() - began < 1


def test_stopping_does_not_wait_for_a_read_that_hangs(caplog):
    gate = threading.Event()
    seen = Watched([picture(), gate])
    seen.camera.start()
    seen.until(lambda: seen.frames)
    time.sleep(0.05)
    began = time.monotonic()
    seen.camera.stop(0.5)
    took = time.monotonic() - began
    gate.set()

    assert took < 1.5
    assert "still reading when told to end" in caplog.text


def test_a_camera_that_was_never_started_can_be_stopped():
    Watched().camera.stop(1)


def test_a_dark_picture_is_marked_at_once_and_the_camera_is_blind_when_it_stays():
    black = np.zeros((64, 96, 3), np.uint8)
    images = [picture(0), picture(1), black, picture(2), *[black] * 30]
    with Watched(images, source=RECORDED, fps=10) as seen:
        seen.until(lambda: len(seen.frames) == len(images))
        status = seen.camera._tally.visibility
    marks = [frame.stamp.blindness for frame in seen.frames]

    assert marks[:4] == [None, None, Blindness.DARK, None]
    assert set(marks[4:]) == {Blindness.DARK}
    assert status.settled is Blindness.DARK


def test_a_source_that_is_not_understood_is_refused_before_anything_starts():
    with pytest.raises(SourceError, match="write v4l2:///dev/video0"):
        Watched(source="/dev/video0")
