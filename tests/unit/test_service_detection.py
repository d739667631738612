"""What the detector thread does next: begin a frame, finish one, or wait for either."""

import threading
from datetime import datetime, timezone

import numpy as np
import pytest

from edge.capture.mailbox import Mailbox
from edge.detector.bundle import InputSpec
from edge.detector.detector import UnderWay, prepare
from edge.frame import Frame, FrameStamp
from edge.service.detection import turn
from tests.fakes.runtime import SHAPE, ToldRuntime

SPEC = InputSpec(width=SHAPE[1], height=SHAPE[0], letterbox="stretch", pad=0)
CAMERAS = ("a", "b", "c")
SOON_S = 0.05


class Line:
    """A mailbox, a runtime of two frames at once, and the turns between them."""

    def __init__(self, in_flight=2):
        self.mailbox = Mailbox(CAMERAS)
        self.runtime = ToldRuntime(in_flight)
        self.under_way = UnderWay(self.runtime, SPEC, 0.1, self.mailbox.wake)

    def put(self, camera):
        stamp = FrameStamp(camera, 0, datetime.now(timezone.utc), 0.0, (8, 8), None)
        self.mailbox.put(
            camera, prepare(Frame(stamp, np.zeros(SHAPE, np.uint8)), SPEC, self.runtime)
        )

    def turn(self, timeout_s=SOON_S):
        finished = turn(self.mailbox, self.under_way, 1, timeout_s)
        return [item.stamp.camera for item, _ in finished]


@pytest.fixture
def line():
    return Line()


def test_a_frame_that_comes_while_another_is_under_way_is_begun_beside_it(line):
    line.put("a")
    line.turn()
    threading.Timer(SOON_S, line.put, "b").start()
    threading.Timer(2 * SOON_S, line.runtime.do, [0]).start()

    assert line.turn(5) == ["a"]
    assert len(line.runtime.begun) == 2


def test_a_frame_alone_is_finished_as_soon_as_it_is_done(line):
    line.put("a")
    line.turn()
    threading.Timer(SOON_S, line.runtime.do, [0]).start()

    assert line.turn(60) == ["a"]


def test_while_nothing_is_done_and_nothing_comes_it_waits_no_longer_than_asked(line):
    line.put("a")
    line.turn()

    assert line.turn() == []
    assert len(line.under_way) == 1


def test_frames_are_finished_in_the_order_in_which_they_were_begun(line):
    line.put("a")
    line.turn()
    line.put("b")
    threading.Timer(SOON_S, lambda: (line.runtime.do(1), line.runtime.do(0))).start()

    assert [line.turn(5), line.turn(5)] == [["a"], ["b"]]


def test_no_more_are_begun_than_the_runtime_takes(line):
    for camera in CAMERAS:
        line.put(camera)
    line.turn()
    threading.Timer(SOON_S, line.runtime.do, [0]).start()

    assert line.turn(5) == ["a"]
    assert len(line.runtime.begun) == 2


def test_a_runtime_of_one_frame_at_a_time_finishes_each_at_once():
    line = Line(in_flight=1)
    line.put("a")
    threading.Timer(SOON_S, line.runtime.do, [0]).start()

    assert line.turn(5) == ["a"]
