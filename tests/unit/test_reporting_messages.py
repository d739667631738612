"""What goes out: every message fits its schema and says what was known, no more."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from edge.aisles.observation import AisleObservation, AisleState, CameraView
from edge.capture.status import CameraStatus
from edge.detections import Detections
from edge.frame import Blindness, FrameStamp
from edge.reporting.compose import Composer, Service, rfc3339
from edge.reporting.messages import WIRE, json_schema
from edge.reporting.topics import Topics, everything_below

NOON = datetime(2026, 1, 31, 12, 0, 0, 123_456, tzinfo=timezone.utc)
TOPICS = Topics("aisle-edge", "north", "a07-left")
VALIDATORS = {
    kind: Draft202012Validator(
        json_schema(kind), format_checker=Draft202012Validator.FORMAT_CHECKER
    )
    for kind in WIRE
}


def composer(**changes):
    defaults = {"topics": TOPICS, "labels": ("pallet", "box"), "now": lambda: NOON}
    return Composer(**defaults | changes)


def stamp(width=1920, height=1080):
    return FrameStamp("a07", 42, NOON, 1.0, (width, height))


def observation(xyxy, scores=None, labels=None, resolution_wh=(1920, 1080)):
    xyxy = np.array(xyxy, np.float32).reshape(-1, 4)
    n = len(xyxy)
    return AisleObservation(
        "07",
        stamp(*resolution_wh),
        Detections(
            xyxy,
            np.array([0.5] * n if scores is None else scores, np.float32),
            np.array([0] * n if labels is None else labels, np.int32),
        ),
        ((0, 0), (0.62, 0), (0.55, 1), (0, 1)),
    )


def state(unknown=None, views=(("a07", None),), counts=None):
    return AisleState(
        aisle="07",
        since=NOON,
        unknown=unknown,
        counts={"box": 3} if counts is None else counts,
        confidence={"box": 0.87654},
        cameras=tuple(
            CameraView(camera, blindness, {} if blindness else {"box": 3})
            for camera, blindness in views
        ),
    )


def sent(outgoing, seq=7):
    body = json.loads(outgoing.payload(seq))
    VALIDATORS[outgoing.kind].validate(body)
    return body


class TestHeader:
    def test_says_what_it_is_where_from_and_when(self):
        body = sent(composer().state(state()))

        assert body["schema"] == "aisle-edge/state/1"
        assert (body["site"], body["device"]) == ("north", "a07-left")
        assert body["time"] == "2026-01-31T12:00:00.123Z"

    def test_has_the_seq_that_the_outbox_gave(self):
        assert sent(composer().state(state()), seq=2**52)["seq"] == 2**52

    def test_two_messages_of_one_process_share_boot_but_not_id(self):
        one = composer()
        first, second = sent(one.state(state())), sent(one.state(state()))

        assert first["boot"] == second["boot"]
        assert first["id"] != second["id"]

    def test_two_processes_differ_in_boot(self):
        assert composer().boot != composer().boot


class TestDetections:
    def test_go_to_their_aisle_and_are_not_retained(self):
        outgoing = composer().detections(observation([[0, 0, 10, 10]]))

        assert outgoing.topic == "aisle-edge/north/a07-left/aisles/07/detections"
        assert not outgoing.retain

    def test_carry_each_object_in_pixels_and_in_fractions(self):
        found = observation([[192.04, 108, 960, 540]], scores=[0.87654], labels=[1])

        assert sent(composer().detections(found))["objects"] == [
            {
                "label": "box",
                "score": 0.8765,
                "xyxy": [192.0, 108.0, 960.0, 540.0],
                "xyxy_n": [0.10002, 0.1, 0.5, 0.5],
            }
        ]

    def test_clip_fractions_to_the_frame(self):
        (found,) = sent(composer().detections(observation([[-5, -5, 2000, 1100]])))["objects"]

        assert found["xyxy_n"] == [0, 0, 1, 1]

    def test_an_aisle_seen_empty_has_no_objects(self):
        assert sent(composer().detections(observation([])))["objects"] == []

    def test_name_camera_zone_and_frame(self):
        body = sent(composer().detections(observation([])))

        assert body["camera"] == "a07"
        assert body["zone"] == [[0, 0], [0.62, 0], [0.55, 1], [0, 1]]
        assert body["frame"] == {
            "number": 42,
            "captured_at": "2026-01-31T12:00:00.123Z",
            "width": 1920,
            "height": 1080,
        }

    @given(
        st.lists(
            st.tuples(
                st.tuples(*[st.floats(-100, 5000, width=32)] * 4),
                st.floats(0, 1, width=32),
                st.integers(0, 1),
            ),
            max_size=40,
        ),
        st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    )
    def test_whatever_is_found_fits_the_schema(self, objects, resolution_wh):
        found = observation(
            [xyxy for xyxy, _, _ in objects],
            [score for _, score, _ in objects],
            [label for _, _, label in objects],
            resolution_wh,
        )

        body = sent(composer().detections(found))

        assert len(body["objects"]) == len(objects)


class TestState:
    def test_goes_to_its_aisle_and_is_retained(self):
        outgoing = composer().state(state())

        assert outgoing.topic == "aisle-edge/north/a07-left/aisles/07/state"
        assert outgoing.retain

    def test_a_seen_aisle_has_counts_and_no_reason(self):
        body = sent(composer().state(state()))

        assert (body["visibility"], body["reason"], body["partial"]) == ("seen", None, False)
        assert body["counts"] == {"box": 3}
        assert body["confidence"] == {"box": 0.877}

    @pytest.mark.parametrize("why", Blindness)
    def test_an_unknown_aisle_says_why_and_counts_nothing(self, why):
        body = sent(composer().state(state(unknown=why, views=[("a07", why)])))

        assert (body["visibility"], body["reason"]) == ("unknown", why.value)
        assert body["counts"] == {}

    def test_one_blind_camera_of_two_makes_it_partial(self):
        body = sent(composer().state(state(views=[("a07", None), ("b07", Blindness.DARK)])))

        assert body["visibility"] == "seen"
        assert body["partial"]
        assert body["cameras"] == [
            {"camera": "a07", "visibility": "seen", "reason": None, "counts": {"box": 3}},
            {"camera": "b07", "visibility": "unknown", "reason": "dark", "counts": {}},
        ]


class TestCamera:
    @pytest.mark.parametrize(
        ("blindness", "word"),
        [
            (None, "streaming"),
            (Blindness.STALLED, "stalled"),
            (Blindness.STARTING, "stalled"),
            (Blindness.DARK, "blind"),
        ],
    )
    def test_says_in_one_word_how_it_is(self, blindness, word):
        outgoing = composer().camera(CameraStatus("a07", blindness, 4.987, 3, 1, "no route"))

        assert outgoing.topic == "aisle-edge/north/a07-left/cameras/a07/status"
        assert outgoing.retain
        body = sent(outgoing)
        assert (body["state"], body["fps"], body["detail"]) == (word, 4.99, "no route")

    def test_a_long_error_is_cut_to_what_the_schema_allows(self):
        status = CameraStatus("a07", Blindness.STALLED, 0.0, 0, 0, "x" * 5000)

        assert len(sent(composer().camera(status))["detail"]) == 1024


class TestStatus:
    def body(self, **options):
        payload = composer(began_s=time.monotonic() - 90).status(
            Service("shelf-yolo 1.2.0", "onnxruntime"), **options
        )
        body = json.loads(payload)
        VALIDATORS["status"].validate(body)
        return body

    def test_online_says_what_runs_and_for_how_long(self):
        body = self.body(first_seq=1000, shed=2)

        assert (body["status"], body["reason"]) == ("online", None)
        assert (body["bundle"], body["runtime"]) == ("shelf-yolo 1.2.0", "onnxruntime")
        assert body["uptime_s"] == pytest.approx(90, abs=5)
        assert (body["first_seq"], body["shed"]) == (1000, 2)

    @pytest.mark.parametrize("why", ["stopped", "connection_lost"])
    def test_offline_says_why(self, why):
        body = self.body(offline=why)

        assert (body["status"], body["reason"]) == ("offline", why)

    def test_is_outside_the_sequence(self):
        assert "seq" not in self.body()

    @pytest.mark.parametrize("set_by", [timedelta(days=-1), timedelta(days=20000)])
    def test_a_clock_that_is_set_changes_when_it_started_and_not_how_long_ago(self, set_by):
        minute_ago = time.monotonic() - 60

        now = NOON + set_by
        body = json.loads(composer(began_s=minute_ago, now=lambda: now).status(Service()))

        assert body["uptime_s"] == pytest.approx(60, abs=5)
        started = datetime.fromisoformat(body["started"].replace("Z", "+00:00"))
        assert (now - started).total_seconds() == pytest.approx(60, abs=5)


def test_a_gap_names_how_many_and_which():
    outgoing = composer().gap(5, [(10, 12), (20, 20)])

    assert outgoing.topic == "aisle-edge/north/a07-left/gap"
    assert not outgoing.retain
    body = sent(outgoing)
    assert (body["count"], body["ranges"]) == (5, [[10, 12], [20, 20]])


@given(st.datetimes(datetime(1971, 1, 1), datetime(2999, 1, 1)), st.integers(-14, 14))  # noqa: DTZ001
def test_rfc3339_is_utc_with_milliseconds_whatever_the_zone(naive, hours):
    moment = naive.replace(tzinfo=timezone(timedelta(hours=hours)))

    text = rfc3339(moment)

    read = datetime.fromisoformat(text.replace("Z", "+00:00"))
    assert timedelta(0) <= moment - read < timedelta(milliseconds=1)
    assert len(text) == len("2026-01-31T12:00:00.123Z")


def test_rfc3339_refuses_a_naive_time():
    with pytest.raises(ValueError, match="aware"):
        rfc3339(datetime(2026, 1, 1))  # noqa: DTZ001


@pytest.mark.parametrize(
    ("site", "subscription"), [(None, "aisle-edge/+/+/#"), ("north", "aisle-edge/north/+/#")]
)
def test_one_subscription_reaches_every_device(site, subscription):
    assert everything_below("aisle-edge", site) == subscription
