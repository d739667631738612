"""A camera that moves: only the aisle it looks at is seen, the others are unknown, never empty."""

import json
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edge.aisles.aisles import Aisles
from edge.aisles.whereabouts import Whereabouts, whereabouts_of
from edge.capture.status import CameraStatus
from edge.config import AislesBy, CameraConfig, Config
from edge.detections import Detections
from edge.detector.bundle import Thresholds
from edge.frame import Blindness, Frame, FrameStamp
from edge.reporting.compose import Composer
from edge.reporting.messages import json_schema
from edge.reporting.topics import Topics

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
FPS = 5
OUT, LOST = Blindness.OUT_OF_VIEW, Blindness.AISLE_UNKNOWN


class Robot:
    """A mast's camera `m` before three aisles; a second camera that does not move, if wanted."""

    def __init__(self, fixed=None, hysteresis_s=2.0):
        views = [{"id": aisle, "markers": [int(aisle)]} for aisle in ("07", "08", "09")]
        by = {"markers": "aruco_4x4_50"}
        cameras = [{"name": "m", "source": "file:///x", "aisles": views, "aisles_by": by}]
        if fixed:
            cameras.append({"name": "f", "source": "file:///y", "aisles": [{"id": fixed}]})
        config = Config(
            bundle="/b",
            device="d",
            cameras=cameras,
            mqtt={"host": "h"},
            publish={"hysteresis_s": hysteresis_s, "detections_per_second": FPS},
        )
        self.aisles = Aisles(config, ("box", "can"), Thresholds(default=0.3))
        self.clock, self.states, self.blind, self.observed = 0.0, [], None, []

    def drive(self, aisle, seconds, boxes=2, camera="m"):
        """Look at an aisle, or at None that we know, with some boxes in it."""
        for _ in range(round(seconds * FPS)):
            self.clock += 1 / FPS
            now = START + timedelta(seconds=self.clock)
            found = Detections(
                np.tile(np.float32([0, 0, 9, 9]), (boxes, 1)),
                np.full(boxes, 0.9, np.float32),
                np.zeros(boxes, np.int32),
            )
            if self.blind is None or camera != "m":
                stamp = FrameStamp(camera, 1, now, self.clock, (100, 100), None, aisle)
                self.observed += self.aisles.observe(stamp, found)
            health = [CameraStatus("m", self.blind, FPS, 0, 0)]
            self.states += self.aisles.states(health, self.clock, now)
        return self

    def known(self, aisle):
        """Return why an aisle is unknown, or what stands there."""
        last = self.last(aisle)
        return last.unknown or last.counts

    def last(self, aisle):
        return [state for state in self.states if state.aisle == aisle][-1]


def test_only_the_aisle_it_looks_at_is_seen():
    robot = Robot().drive("07", 3)

    assert [robot.known(a) for a in ("07", "08", "09")] == [{"box": 2}, OUT, OUT]


def test_an_aisle_that_it_has_left_is_out_of_view_and_never_empty():
    robot = Robot().drive("07", 3, boxes=2).drive("08", 3, boxes=0)

    assert [robot.known(a) for a in ("07", "08", "09")] == [OUT, {}, OUT]
    assert {} not in [s.counts for s in robot.states if s.aisle == "07" and not s.unknown]


def test_what_was_last_seen_there_stays_in_the_state_until_it_is_seen_again():
    robot = Robot().drive("07", 3, boxes=2)
    assert robot.last("07").last_seen is None
    robot.drive("08", 60, boxes=5)
    left = robot.last("07").last_seen
    assert left.counts == {"box": 2}
    assert left.until == START + timedelta(seconds=3.2)
    robot.drive("07", 3, boxes=1)

    assert (robot.known("07"), robot.last("07").last_seen) == ({"box": 1}, None)


def test_an_aisle_never_seen_was_never_last_seen():
    assert Robot().drive("07", 3).last("09").last_seen is None


def test_from_the_start_nobody_can_tell_until_the_first_sign():
    robot = Robot().drive(None, 1)

    assert [robot.known(a) for a in ("07", "08", "09")] == [LOST] * 3


def test_one_that_has_lost_its_way_no_longer_knows_its_aisle():
    robot = Robot().drive("07", 3).drive(None, 1)
    assert robot.known("07") == {"box": 2}
    robot.drive(None, 2)

    assert [robot.known(a) for a in ("07", "08", "09")] == [LOST, OUT, OUT]


def test_frames_in_doubt_belong_to_no_aisle():
    robot = Robot().drive("07", 3, boxes=2)
    before = len(robot.observed)
    robot.drive(None, 1.0, boxes=9).drive("07", 3, boxes=2)

    assert robot.known("07") == {"box": 2}
    assert {len(o.detections) for o in robot.observed[before:]} == {2}


def test_a_moment_of_doubt_is_no_news():
    robot = Robot().drive("07", 3)
    told = len(robot.states)

    robot.drive(None, 0.4).drive("07", 2).drive(None, 1).drive("07", 2)

    assert [state.aisle for state in robot.states[told:]] == []


def test_observations_are_of_the_aisle_in_view():
    robot = Robot().drive("07", 1).drive("09", 1)

    assert [o.aisle for o in robot.observed] == ["07"] * 5 + ["09"] * 5


def test_when_it_cannot_see_all_its_aisles_are_unknown_for_that_reason():
    robot = Robot().drive("07", 3)
    robot.blind = Blindness.DARK
    robot.drive("07", 1)
    assert [robot.known(a) for a in ("07", "08", "09")] == [Blindness.DARK] * 3
    robot.blind = None
    robot.drive("07", 3)

    assert [robot.known(a) for a in ("07", "08", "09")] == [{"box": 2}, OUT, OUT]


def test_a_camera_that_stands_still_goes_on_seeing_an_aisle_the_robot_has_left():
    robot = Robot(fixed="07").drive("07", 3)
    for _ in range(15):
        robot.drive("08", 1 / FPS).drive(None, 1 / FPS, boxes=4, camera="f")

    assert robot.known("07") == {"box": 4}
    assert not robot.last("07").partial


def test_a_fault_is_named_before_a_robot_that_is_elsewhere():
    robot = Robot(fixed="08").drive("07", 3)

    assert robot.known("08") is Blindness.STARTING


def test_without_hysteresis_it_is_out_of_view_at_once():
    robot = Robot(hysteresis_s=0).drive("07", 1).drive(None, 0.2)

    assert robot.known("07") is LOST


class Signs:
    """Says what a frame's first pixel says: the number of the aisle, 255 for nothing."""

    def likelihood(self, image):
        said = np.ones(3)
        if image[0, 0, 0] < 255:
            said = np.eye(3)[image[0, 0, 0]]
        return said


def test_frames_are_stamped_with_their_aisle_once_it_is_sure_and_if_they_do_not_contradict():
    whereabouts = Whereabouts(["07", "08"], Signs(), hold_s=1.0)
    said = []
    for number, pixel in enumerate([0, 0, 0, 255, 255, 1, 0, 0, 1, 1, 1, 1, 1]):
        stamp = FrameStamp("m", number, START, number / FPS, (4, 4))
        frame = Frame(stamp, np.full((4, 4, 3), pixel, np.uint8))
        said.append(whereabouts.stamped(frame).stamp.aisle)

    assert said == [None, "07", "07", "07", "07", None, "07", "07", None, None, "08", "08", "08"]


def test_a_camera_that_stands_still_is_nowhere_looked_for():
    camera = CameraConfig(name="a", source="file:///x", aisles=[{"id": "07"}])

    assert whereabouts_of(camera) is None


@pytest.mark.needs("cv2")
def test_a_camera_that_moves_is():
    view = {"id": "07", "markers": [7]}
    by = {"markers": "apriltag_36h11"}
    camera = CameraConfig(name="a", source="file:///x", aisles=[view], aisles_by=by)

    assert whereabouts_of(camera) is not None


def test_the_message_of_an_aisle_out_of_view_holds_what_was_last_seen():
    robot = Robot().drive("07", 3, boxes=2).drive("08", 3)
    composer = Composer(Topics("aisle-edge", "north", "robot-1"), ("box", "can"))

    message = json.loads(composer.state(robot.last("07")).payload(1))

    Draft202012Validator(json_schema("state")).validate(message)
    assert (message["visibility"], message["reason"], message["counts"]) == (
        "unknown",
        "out_of_view",
        {},
    )
    assert message["last_seen"] == {"until": "2026-01-01T00:00:03.200Z", "counts": {"box": 2}}


@pytest.mark.parametrize("fps", [2, 5, 15, 30])
def test_a_robot_that_leaves_without_a_sign_does_not_leave_the_aisle_empty(fps):
    robot = Robot()
    hold_s = AislesBy(markers="aruco_4x4_50").hold_s
    whereabouts = Whereabouts(["07", "08"], Signs(), hold_s)
    for number in range(20 * fps):
        here = number < 10 * fps
        now = START + timedelta(seconds=number / fps)
        stamp = FrameStamp("m", number, now, number / fps, (4, 4))
        frame = Frame(stamp, np.full((4, 4, 3), 0 if here else 255, np.uint8))
        boxes = 2 if here else 0
        found = Detections(
            np.tile(np.float32([0, 0, 3, 3]), (boxes, 1)),
            np.full(boxes, 0.9, np.float32),
            np.zeros(boxes, np.int32),
        )
        robot.aisles.observe(whereabouts.stamped(frame).stamp, found)
        robot.states += robot.aisles.states([], number / fps, now)

    assert [s.unknown or s.counts for s in robot.states if s.aisle == "07"][-2:] == [
        {"box": 2},
        LOST,
    ]
