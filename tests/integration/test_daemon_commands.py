"""What a running daemon can be asked over a real broker, and what it refuses to do."""

import base64
import time

import cv2
import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edge.reporting.messages import json_schema
from edge.reporting.replies import CommandReply
from tests.integration.broker import DURABLE, Amqtt, Asker, Mosquitto, Subscriber, wait_until
from tests.integration.daemon import PLAYED, Daemon, paint_video, write_config

pytestmark = pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx")

BASE = "aisle-edge/north/a07"
LEFT_TWO_AND_A_FAINT_CAN = (255, 80, 200, 0)
ANSWER = Draft202012Validator(
    json_schema("command-reply", CommandReply), format_checker=Draft202012Validator.FORMAT_CHECKER
)


def written(folder, port, **changes):
    mqtt = {"host": "127.0.0.1", "port": port, "commands": True}
    video = paint_video(folder / "v.mp4", LEFT_TWO_AND_A_FAINT_CAN, frames=40)
    return write_config(folder, port, PLAYED.format(video), **({"mqtt": mqtt} | changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("commands")


@pytest.fixture(scope="module")
def broker(mosquitto, folder):
    with Mosquitto(mosquitto, folder, DURABLE) as running:
        yield running


@pytest.fixture(scope="module")
def config(broker, folder):
    return written(folder, broker.port)


@pytest.fixture(scope="module")
def daemon(config):
    with Daemon(config) as running:
        wait_until(lambda: "ready" in running.log, what="ready")
        yield running


@pytest.fixture(scope="module")
def asker(broker, daemon):
    with Asker(broker.port, BASE) as one:
        one.wait_for_the_device()
        yield one


def result(answer):
    ANSWER.validate(answer)
    assert answer["ok"], answer["error"]
    return answer["result"]


def newest(subscriber):
    """Return the boot of the newest status message."""
    return subscriber.of("status")[-1]["boot"]


def refusal(answer):
    ANSWER.validate(answer)
    assert (answer["ok"], answer["result"]) == (False, None)
    assert "\n" not in answer["error"]
    return answer["error"]


def decoded(snapshot):
    data = np.frombuffer(base64.b64decode(snapshot["jpeg"]), np.uint8)
    return cv2.imdecode(data, cv2.IMREAD_COLOR)


def greenest(snapshot):
    """Return by how much, at most, green exceeds red in a picture that is grey itself."""
    picture = decoded(snapshot).astype(int)
    return (picture[..., 1] - picture[..., 2]).max()


class TestSnapshot:
    def test_is_the_cameras_picture(self, asker):
        answer = asker.ask("snapshot", {"id": "one"})

        seen = result(answer)
        picture = decoded(seen)
        assert (answer["command"], answer["request"]) == ("snapshot", "one")
        assert picture.shape == (240, 320, 3)
        assert picture[60, 84].mean() > 200, "bright on the left"
        assert picture[60, 244].mean() < 100, "dim on the right"
        assert seen["objects"] is None

    def test_with_boxes_shows_what_was_detected_in_this_very_picture(self, asker):
        seen = result(asker.ask("snapshot", {"boxes": True, "camera": "cam"}))

        assert [(o["label"], o["xyxy"]) for o in seen["objects"]] == [
            ("box", [0, 0, 160, 120]),
            ("box", [0, 120, 160, 240]),
        ]
        plain = result(asker.ask("snapshot"))
        assert greenest(seen) > 60 > greenest(plain), "the boxes are drawn"

    def test_of_an_unknown_camera_names_the_known(self, asker):
        assert refusal(asker.ask("snapshot", {"camera": "x"})).endswith("there are cam")


class TestThreshold:
    @pytest.fixture(autouse=True)
    def as_configured(self, asker):
        yield
        result(asker.ask("threshold", {"threshold": None}))

    def test_asked_for_alone_says_what_counts(self, asker):
        found = result(asker.ask("threshold"))

        both = {"box": 0.5, "can": 0.5}
        assert found["effective"] == [
            {"camera": "cam", "aisle": "left", "thresholds": both},
            {"camera": "cam", "aisle": "right", "thresholds": both},
        ]

    def test_changes_what_is_told_of_an_aisle_and_of_no_other(self, asker, broker):
        request = {"aisle": "left", "label": "box", "threshold": 0.99}

        found = result(asker.ask("threshold", request))

        assert [x["thresholds"]["box"] for x in found["effective"]] == [0.99, 0.5]
        assert found["until"] == "the next reload or restart"
        with Subscriber(broker.port, f"{BASE}/aisles/left/state", "thresholds") as subscriber:
            wait_until(
                lambda: subscriber.of("state") and subscriber.of("state")[-1]["counts"] == {}
            )

    def test_below_every_configured_one_brings_more_detections(self, asker):
        result(asker.ask("threshold", {"threshold": 0.01}))

        seen = result(asker.ask("snapshot", {"boxes": True}))

        assert [o["label"] for o in seen["objects"]] == ["box", "box", "can"]

    @pytest.mark.parametrize(
        ("request_", "error"),
        [
            ({"aisle": "nowhere"}, "aisle: there is no 'nowhere'; there are left, right"),
            ({"label": "cat"}, "label: there is no 'cat'; there are box, can"),
            ({"threshold": 2}, "threshold: expected less than or equal to 1"),
        ],
    )
    def test_refuses_what_it_does_not_know(self, asker, request_, error):
        assert refusal(asker.ask("threshold", request_)) == error


class TestSelfTest:
    def test_passes_on_a_device_that_is_well(self, asker):
        found = result(asker.ask("self-test"))

        assert (found["verdict"], found["problems"]) == ("pass", [])
        assert (found["golden"]["kept"], found["golden"]["frames"]) == (1, 4)
        assert [(c["camera"], c["state"]) for c in found["cameras"]] == [("cam", "streaming")]
        assert found["reporting"]["protocol"] == "MQTT 5"

    def test_takes_no_frame_from_the_cameras(self, asker, broker):
        told = lambda: len(subscriber.of("detections"))  # noqa: E731
        with Subscriber(broker.port, f"{BASE}/aisles/left/detections", "watching") as subscriber:
            wait_until(told)
            before, began = told(), time.monotonic()
            for _ in range(3):
                result(asker.ask("self-test"))
            seconds = time.monotonic() - began
            assert told() - before >= 5 * seconds * 0.6 - 1


class TestRefusal:
    @pytest.mark.parametrize(
        ("name", "payload", "error"),
        [
            ("explode", b"", "unknown command 'explode'; known: snapshot, threshold, reload"),
            ("snapshot", b"\xff\x00garbage", "no JSON: "),
            ("snapshot", b'{"boxes": "yes"}', "boxes: expected a valid boolean"),
            ("snapshot", b'{"box": true}', "unknown key 'box'; did you mean boxes?"),
            ("snapshot", b"[1]", "expected a JSON object"),
            ("snapshot", b'"' + b"x" * 100_000 + b'"', "at most 4096"),
            ("snapshot", b"[" * 4000, "no JSON: recursion limit exceeded"),
        ],
    )
    def test_is_one_line_and_the_daemon_goes_on(self, asker, name, payload, error):
        assert error in refusal(asker.ask(name, payload))

    def test_one_too_large_to_be_worth_reading_does_not_get_past_the_broker(self, asker):
        sent = asker.send("threshold", b"x" * (2 << 20))

        result(asker.ask("threshold"))
        assert sent not in asker.answers

    def test_a_request_that_comes_twice_is_answered_twice_and_carried_out_once(self, asker, daemon):
        for _ in range(2):
            sent = asker.send("snapshot", {"id": "same"}, correlation=b"same")

        wait_until(lambda: len(asker.answers.get(sent, ())) == 2)
        first, second = asker.answers[sent]
        assert first == second
        assert "asked before, answered again" in daemon.log

    def test_a_flood_is_told_that_it_is_busy_and_not_carried_out(self, asker, daemon):
        sent = [asker.send("self-test") for _ in range(40)]

        wait_until(lambda: sum(c in asker.answers for c in sent) >= 20, 30)
        answers = [asker.answers[c][0] for c in sent if c in asker.answers]
        errors = {a["error"] for a in answers if not a["ok"]}
        assert errors == {"busy; ask again in a second"}
        assert "commands were shed" in daemon.log
        time.sleep(1)

    def test_an_answer_goes_to_no_topic_of_a_device(self, asker, broker, daemon):
        forged = f"{BASE}/aisles/left/state"

        asker.send("threshold", response_topic=forged)

        wait_until(lambda: f"cannot answer on {forged}" in daemon.log, what="said in the log")

    def test_an_answer_without_a_response_topic_goes_beside_the_command(self, broker, daemon):
        topic = f"{BASE}/commands/threshold/response"
        with Subscriber(broker.port, topic, "beside") as subscriber:
            subscriber.publish(f"{BASE}/commands/threshold", b'{"id": "x"}')
            wait_until(lambda: subscriber.of("command-reply"))
            assert subscriber.of("command-reply")[0]["request"] == "x"


class TestReload:
    def test_brings_a_new_configuration_into_service_and_clears_what_is_gone(
        self, asker, broker, config
    ):
        before = config.read_text()
        with Subscriber(broker.port, f"{BASE}/#", "reloads") as subscriber:
            config.write_text(before.replace("id: left", "id: '07'"))
            assert result(asker.ask("reload")) == {"state": "reloading"}
            aisles = lambda: {b["aisle"] for b in subscriber.of("state")}  # noqa: E731
            wait_until(lambda: "07" in aisles(), what="the new aisle is told")
            wait_until(lambda: f"{BASE}/aisles/left/state" in subscriber.cleared)
            config.write_text(before)
            result(asker.ask("reload"))
            wait_until(lambda: f"{BASE}/aisles/07/state" in subscriber.cleared)

    def test_of_a_wrong_one_says_what_is_wrong_and_keeps_the_old(self, asker, config):
        before = config.read_text()
        config.write_text(before.replace("id: left", "idd: left"))
        try:
            error = refusal(asker.ask("reload"))
        finally:
            config.write_text(before)
        assert f"{config}:" in error
        assert "did you mean id?" in error
        result(asker.ask("snapshot"))


class TestWhileAway:
    """A command that waits at the broker for a device that is away."""

    @pytest.fixture
    def away(self, mosquitto, tmp_path):
        with Mosquitto(mosquitto, tmp_path, DURABLE) as broker:
            config = written(tmp_path, broker.port)
            with Daemon(config) as daemon, Asker(broker.port, BASE) as asker:
                asker.wait_for_the_device()
                daemon.kill()
                asker.wait_for_the_device("offline")
                yield daemon, asker

    def test_is_carried_out_when_it_is_back_unless_it_expired_or_is_retained(self, away):
        daemon, asker = away
        waits = asker.send("threshold", {"threshold": 0.75}, expiry_s=60)
        expires = asker.send("threshold", {"threshold": 0.25}, expiry_s=1)
        retained = asker.send("threshold", {"threshold": 0.35}, retain=True)
        time.sleep(1.5)

        daemon.start()

        wait_until(lambda: waits in asker.answers, 20)
        assert result(asker.answers[waits][0])["effective"][0]["thresholds"]["box"] == 0.75
        now = result(asker.ask("threshold"))["effective"][0]["thresholds"]["box"]
        assert now == 0.75
        assert expires not in asker.answers
        assert retained not in asker.answers


@pytest.mark.parametrize(
    ("mqtt", "heard"),
    [({}, False), ({"commands": False, "username": "a07"}, False), ({"username": "a07"}, True)],
)
def test_they_are_heard_where_the_broker_knows_the_device(mosquitto, tmp_path, mqtt, heard):
    with Mosquitto(mosquitto, tmp_path, DURABLE) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port} | mqtt
        with (
            Daemon(written(tmp_path, broker.port, mqtt=mqtt)) as daemon,
            Asker(broker.port, BASE) as asker,
        ):
            asker.wait_for_the_device()
            sent = asker.send("threshold")
            time.sleep(0.5)
            assert (sent in asker.answers) == heard
            assert ("commands are not heard" in daemon.log) == (not heard)


def test_commands_that_are_switched_off_do_not_queue_up_at_the_broker(mosquitto, tmp_path):
    with Mosquitto(mosquitto, tmp_path, DURABLE) as broker, Asker(broker.port, BASE) as asker:
        config = written(tmp_path, broker.port)
        with Daemon(config) as daemon:
            asker.wait_for_the_device()
            daemon.terminate()
            asker.wait_for_the_device("offline")
            config.write_text(config.read_text().replace("commands: true", "commands: false"))
            daemon.start()
            asker.wait_for_the_device()
            sent = asker.send("threshold")
            daemon.terminate()
            asker.wait_for_the_device("offline")
            config.write_text(config.read_text().replace("commands: false", "commands: true"))
            daemon.start()
            asker.wait_for_the_device()
            asker.ask("threshold")
    assert sent not in asker.answers


def test_an_answer_that_is_too_large_for_the_broker_says_so_instead(mosquitto, tmp_path):
    with (
        Mosquitto(mosquitto, tmp_path, (*DURABLE, "max_packet_size 3000")) as broker,
        Daemon(written(tmp_path, broker.port)) as daemon,
        Asker(broker.port, BASE) as asker,
    ):
        asker.wait_for_the_device()
        error = refusal(asker.ask("snapshot"))
    assert error.endswith("bytes, the broker takes 3000; raise the broker's limit")
    assert daemon.log.count(": connected, MQTT 5") == 1, "the connection holds"


@pytest.mark.needs("amqtt")
def test_in_mqtt_3_1_1_the_answer_comes_beside_the_command(tmp_path):
    topic = f"{BASE}/commands/threshold/response"
    with (
        Amqtt(tmp_path) as broker,
        Subscriber(broker.port, f"{BASE}/#", old=True) as subscriber,
        Daemon(written(tmp_path, broker.port)),
    ):
        wait_until(lambda: subscriber.of("status"), 30)
        subscriber.publish(f"{BASE}/commands/threshold", b'{"id": "7"}')
        wait_until(lambda: subscriber.of("command-reply"))
        (answer,) = [body for where, body in subscriber.received if where == topic]
    assert (answer["request"], len(result(answer)["effective"])) == ("7", 2)


def test_a_device_that_cannot_see_fails_its_self_test_and_says_which_camera(mosquitto, tmp_path):
    dark = paint_video(tmp_path / "dark.mp4", (0, 0, 0, 0), frames=80)
    with Mosquitto(mosquitto, tmp_path, DURABLE) as broker:
        mqtt = {"host": "127.0.0.1", "port": broker.port, "commands": True}
        cameras = [
            {"name": "dark", "source": PLAYED.format(dark), "fps": 10, "aisles": [{"id": "1"}]},
            {"name": "dead", "source": "rtsp://127.0.0.1:1/x", "aisles": [{"id": "2"}]},
        ]
        config = write_config(tmp_path, broker.port, "", mqtt=mqtt, cameras=cameras)
        with Daemon(config), Asker(broker.port, BASE) as asker:
            asker.wait_for_the_device()
            blind = lambda: asker.ask("self-test")["result"]["problems"]  # noqa: E731
            wait_until(lambda: any(p.startswith("camera dark: blind") for p in blind()))
            found = result(asker.ask("self-test"))
            picture = result(asker.ask("snapshot", {"camera": "dark", "boxes": True}))
            assert "brought no picture" in refusal(asker.ask("snapshot", {"camera": "dead"}))
    assert found["verdict"] == "fail"
    assert found["golden"]["kept"] == 1
    assert [p.split(" (")[0] for p in found["problems"]] == [
        "camera dark: blind",
        "camera dead: stalled",
    ]
    assert (picture["objects"], picture["reason"] is None) == (None, False)


def test_what_a_killed_daemon_left_retained_is_cleared_by_the_next(mosquitto, tmp_path):
    with (
        Mosquitto(mosquitto, tmp_path, DURABLE) as broker,
        Subscriber(broker.port, f"{BASE}/#") as subscriber,
    ):
        config = written(tmp_path, broker.port)
        with Daemon(config) as daemon:
            wait_until(lambda: {b["aisle"] for b in subscriber.of("state")} == {"left", "right"})
            wait_until(lambda: subscriber.of("camera"))
            daemon.kill()
            renamed = config.read_text().replace("id: left", "id: other")
            config.write_text(renamed.replace("name: cam", "name: eye"))
            daemon.start()
            gone = {f"{BASE}/aisles/left/state", f"{BASE}/cameras/cam/status"}
            wait_until(lambda: set(subscriber.cleared) == gone, what="cleared")
            noted = lambda: "".join(x for x in daemon.log.splitlines() if "cleared, no" in x)  # noqa: E731
            wait_until(lambda: all(topic in noted() for topic in gone), what="noted")
            daemon.terminate()  # what still waited for the broker is gone with it
            daemon.start()
            wait_until(lambda: len({b["boot"] for b in subscriber.of("status")}) == 3)
            wait_until(
                lambda: newest(subscriber) in {b["boot"] for b in subscriber.of("detections")}
            )
        assert sorted(subscriber.cleared) == sorted(gone), "once"
        with Subscriber(broker.port, f"{BASE}/#", "late") as late:
            wait_until(lambda: late.of("status"))
            time.sleep(0.3)
            assert not {topic for topic, _ in late.received} & gone
