"""What stands in an aisle: counts that do not flicker, and `unknown` when nobody can see."""

from datetime import datetime, timedelta, timezone

import numpy as np
import pytest

from edge.aisles.aisles import Aisles, Rate
from edge.capture.status import CameraStatus
from edge.config import AisleView, CameraConfig, Config, MqttConfig
from edge.detections import Detections
from edge.detector.bundle import Thresholds
from edge.frame import Blindness, FrameStamp

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
FPS = 5


class World:
    """Two cameras, `a` and `b`, and whatever aisles a test gives them; time moves by frames."""

    def __init__(self, aisles=None, hysteresis_s=2.0, **publish):
        aisles = aisles or {"a": ["07"]}
        self.aisles = Aisles(
            Config(
                bundle="/b",
                device="d",
                cameras=[
                    {"name": c, "source": "file:///x", "aisles": [{"id": i} for i in ids]}
                    for c, ids in aisles.items()
                ],
                mqtt={"host": "h"},
                publish={"hysteresis_s": hysteresis_s, "detections_per_second": 1, **publish},
            ),
            ("box", "can"),
            Thresholds(default=0.3),
        )
        self.clock = 100.0
        self.start = START
        self.blind = dict.fromkeys(aisles, None)
        self.states = []
        self.observations = []

    def frames(self, n, boxes=0, camera="a", *, score=0.9):
        """Let n frames pass, each with `boxes` objects, or boxes[i] in the i-th."""
        for index in range(n):
            self.clock += 1 / FPS
            count = boxes[index % len(boxes)] if isinstance(boxes, list) else boxes
            found = Detections(
                np.tile(np.float32([0, 0, 9, 9]), (count, 1)),
                np.full(count, score, np.float32),
                np.zeros(count, np.int32),
            )
            if self.blind[camera] is None:
                self.observations += self.aisles.observe(self._stamp(camera), found)
            self.tick()
        return self

    def tick(self):
        health = [CameraStatus(c, why, FPS, 0, 0) for c, why in self.blind.items()]
        now = self.start + timedelta(seconds=self.clock)
        self.states += self.aisles.states(health, self.clock, now)

    def _stamp(self, camera):
        now = self.start + timedelta(seconds=self.clock)
        return FrameStamp(camera, 1, now, self.clock, (100, 100))

    @property
    def last(self):
        return self.states[-1]


def test_an_aisle_is_unknown_until_it_has_been_watched_for_the_hysteresis_time():
    world = World().frames(9, boxes=2)
    assert [s.unknown for s in world.states] == [Blindness.STARTING]
    world.frames(3, boxes=2)
    assert (world.last.unknown, world.last.counts) == (None, {"box": 2})


@pytest.mark.parametrize("flicker", [[3, 2], [3, 3, 2], [3, 0, 3], [3, 3, 3, 4, 2]])
def test_counts_do_not_flicker(flicker):
    world = World().frames(15, boxes=3)
    told = len(world.states)
    world.frames(60, boxes=flicker)
    assert len(world.states) == told
    assert world.last.counts == {"box": 3}


@pytest.mark.parametrize(("before", "after"), [(3, 2), (3, 0), (0, 4), (1, 2)])
def test_a_lasting_change_is_told_within_the_hysteresis_time_and_once(before, after):
    world = World().frames(15, boxes=before)
    told = len(world.states)
    world.frames(10, boxes=after)
    assert len(world.states) == told + 1
    assert world.last.counts == ({"box": after} if after else {})


def test_a_blind_camera_makes_its_aisle_unknown_never_empty():
    world = World().frames(15, boxes=3)
    world.blind["a"] = Blindness.DARK
    world.frames(1)
    assert (world.last.unknown, world.last.counts) == (Blindness.DARK, {})
    world.blind["a"] = None
    world.frames(9, boxes=3)
    assert world.last.unknown is Blindness.DARK
    world.frames(3, boxes=3)
    assert (world.last.unknown, world.last.counts) == (None, {"box": 3})


def test_an_aisle_of_two_cameras_counts_what_the_better_one_sees():
    world = World({"a": ["07"], "b": ["07"]})
    for _ in range(15):
        world.frames(1, boxes=1, camera="a").frames(1, boxes=3, camera="b")
    assert world.last.counts == {"box": 3}
    assert [view.counts for view in world.last.cameras] == [{"box": 1}, {"box": 3}]


def test_an_aisle_is_known_while_one_of_its_cameras_sees_and_says_that_it_is_partial():
    world = World({"a": ["07"], "b": ["07"]})
    world.blind["b"] = Blindness.STALLED
    world.frames(15, boxes=1)
    assert world.last.unknown is None
    assert world.last.partial
    world.blind["a"] = Blindness.COVERED
    world.tick()
    assert world.last.unknown is Blindness.COVERED


def test_since_moves_only_with_the_counts():
    world = World(state_heartbeat_s=1).frames(15, boxes=3)
    since = world.last.since
    world.frames(30, boxes=3)
    assert world.last.since == since
    world.frames(10, boxes=1)
    assert world.last.since > since


def test_a_state_is_told_again_as_a_heartbeat():
    world = World(state_heartbeat_s=3).frames(15, boxes=3)
    told = len(world.states)
    world.frames(30, boxes=3)
    assert len(world.states) == told + 2


def test_confidence_is_the_mean_score():
    world = World().frames(15, boxes=2, score=0.5)
    assert world.last.confidence == {"box": 0.5}


@pytest.mark.parametrize(("rate", "expected"), [(1, 10), (5, 50), (2.5, 25), (0, 0), (0.5, 5)])
def test_observations_come_at_the_rate_asked_for(rate, expected):
    world = World(detections_per_second=rate).frames(50, boxes=1)
    assert len(world.observations) == pytest.approx(expected, abs=1)


def test_an_empty_aisle_is_an_observation_too():
    world = World().frames(1)
    assert [len(o.detections) for o in world.observations] == [0]


def test_jitter_costs_no_observation():
    rate, clock, rng = Rate(5), 0.0, np.random.default_rng(7)
    passed = 0
    for _ in range(500):
        clock += 0.2
        passed += rate.due(clock + rng.uniform(-0.02, 0.02))
    assert passed == pytest.approx(500, abs=5)


def test_without_hysteresis_every_frame_counts():
    world = World(hysteresis_s=0).frames(1, boxes=2)
    assert world.last.counts == {"box": 2}
    world.frames(1, boxes=3)
    assert world.last.counts == {"box": 3}


class TestThresholdsForNow:
    def aisles(self):
        views = [AisleView(id="07", threshold=0.4), AisleView(id="08")]
        camera = CameraConfig(name="a", source="file:///x", aisles=views)
        config = Config(bundle="b", cameras=[camera], mqtt=MqttConfig(host="h"))
        return Aisles(config, ("box", "can"), Thresholds(default=0.3))

    def lowest(self, aisles):
        return [zone.lowest.tolist() for zone in aisles.zones["a"]]

    def test_hold_where_they_are_wanted(self):
        aisles = self.aisles()
        aisles.count_from(0.125, "08", 1)

        assert self.lowest(aisles) == [pytest.approx([0.4, 0.4]), pytest.approx([0.3, 0.125])]
        assert aisles.floor == 0.125

    def test_none_brings_the_configured_ones_back(self):
        aisles = self.aisles()
        aisles.count_from(0.9, None, None)
        aisles.count_from(None, None, 0)

        assert self.lowest(aisles) == [pytest.approx([0.4, 0.9]), pytest.approx([0.3, 0.9])]


@pytest.mark.parametrize("years", [50, -1])
def test_a_clock_that_is_set_moves_what_states_say_of_the_past(years):
    world = World(hysteresis_s=1.0, state_heartbeat_s=0.5).frames(10, boxes=2)
    was = world.last.since
    jump = timedelta(days=365 * years)
    world.start += jump
    world.frames(10, boxes=2)
    assert world.last.since == was + jump

    world.blind["a"] = Blindness.DARK
    world.frames(5)
    until = world.last.last_seen.until
    world.start -= jump
    world.frames(5)
    assert world.last.last_seen.until == until - jump
    assert world.last.since == until - jump


def test_a_clock_that_only_drifts_changes_no_time():
    world = World(hysteresis_s=1.0, state_heartbeat_s=0.5).frames(10, boxes=2)
    since = world.last.since
    for _ in range(20):
        world.start += timedelta(milliseconds=50)
        world.frames(1, boxes=2)

    assert world.last.since == since
