"""A camera's next picture, for who asks; nothing for nobody."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timezone

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.frame import Frame, FrameStamp
from edge.service.jpeg import encode
from edge.service.viewfinder import Viewfinder
from tests.conftest import require_or_skip


def frame(camera="a", number=0):
    now = datetime.now(timezone.utc)
    stamp = FrameStamp(camera, number, now, time.monotonic(), (4, 4))
    return Frame(stamp, np.zeros((4, 4, 3), np.uint8))


def test_the_next_frame_of_that_camera_is_seen_and_no_earlier_one():
    finder, seen = Viewfinder(), []
    finder.show(frame(number=1))
    looking = threading.Thread(target=lambda: seen.append(finder.look("a", 5)))
    looking.start()
    while finder._wanted is None:
        time.sleep(0.001)

    for shown in (frame("b", 2), frame("a", 3), frame("a", 4)):
        finder.show(shown)

    looking.join(5)
    assert seen[0].stamp.number == 3


def test_nothing_is_kept_for_nobody():
    finder = Viewfinder()

    finder.show(frame())

    assert finder._frame is None


def test_a_camera_that_shows_nothing_is_waited_for_no_longer_than_asked():
    began = time.monotonic()

    assert Viewfinder().look("a", 0.05) is None
    assert time.monotonic() - began < 1


def test_who_waits_is_let_go_at_the_end():
    finder = Viewfinder()
    threading.Timer(0.05, finder.close).start()
    began = time.monotonic()

    assert finder.look("a", 10) is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("size_wh", [(3840, 2160), (640, 480), (30, 4000), (2, 2)])
def test_a_jpeg_fits_however_large_and_busy_the_picture(size_wh):
    require_or_skip("cv2")
    noise = np.random.default_rng(0).integers(0, 255, (size_wh[1], size_wh[0], 3), np.uint8)

    data, (width, height) = encode(noise, 64_000)

    assert len(data) <= 64_000
    assert max(width, height) <= 1280


def test_a_picture_that_cannot_fit_is_an_error():
    require_or_skip("cv2")
    with pytest.raises(EdgeError, match="does not fit into 100 bytes"):
        encode(np.zeros((480, 640, 3), np.uint8), 100)
