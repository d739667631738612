"""The daemon from a picture to a real broker, and how it starts, reloads, fails and stops."""

import signal
import socket
import time

import pytest

from tests.integration.broker import Mosquitto, free_port, wait_until
from tests.integration.daemon import LEFT_TWO, PLAYED, Daemon, paint_video, write_config
from tests.quadrants import write_bundle

pytestmark = pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx")

RIGHT_ONE = (0, 255, 0, 0)
DARK = (0, 0, 0, 0)


def counts(subscriber, aisle):
    """Return the settled counts that were told of an aisle, in order; None while unknown."""
    return [
        body["counts"] if body["visibility"] == "seen" else None
        for body in subscriber.of("state")
        if body["aisle"] == aisle
    ]


def test_what_stands_in_an_aisle_is_told_on_its_topic(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO, frames=40)
    with Daemon(write_config(tmp_path, broker.port, PLAYED.format(video))):
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"), what="left has two boxes")
        wait_until(lambda: {} in counts(subscriber, "right"), what="right is seen, and empty")
    seen = next(d for d in subscriber.of("detections") if d["aisle"] == "left")
    assert [o["label"] for o in seen["objects"]] == ["box", "box"]
    assert seen["objects"][0]["xyxy"] == [0, 0, 160, 120]
    assert seen["objects"][0]["xyxy_n"] == [0, 0, 0.5, 0.5]
    assert (seen["frame"]["width"], seen["frame"]["height"]) == (320, 240)


def test_the_table_follows_when_objects_go_and_come(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO, RIGHT_ONE, frames=50)
    with Daemon(write_config(tmp_path, broker.port, PLAYED.format(video))):
        wait_until(lambda: {"can": 1} in counts(subscriber, "right"), what="right has a can")
        wait_until(lambda: counts(subscriber, "left")[-1:] == [{}], what="left is empty then")


def test_a_dark_camera_makes_its_aisles_unknown_never_empty(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO, DARK, frames=80)
    with Daemon(write_config(tmp_path, broker.port, PLAYED.format(video))):
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"), what="left has two boxes")
        reasons = lambda: {b["reason"] for b in subscriber.of("state") if b["aisle"] == "left"}  # noqa: E731
        wait_until(lambda: reasons() & {"dark", "covered"}, what="left is unknown")
    assert {} not in counts(subscriber, "left")


def test_it_says_online_and_the_broker_says_when_it_is_gone(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    status = lambda: [(b["status"], b["reason"]) for b in subscriber.of("status")]  # noqa: E731
    with Daemon(write_config(tmp_path, broker.port, PLAYED.format(video))) as daemon:
        wait_until(lambda: ("online", None) in status(), what="online")
        daemon.kill()
        wait_until(lambda: status()[-1] == ("offline", "connection_lost"), what="Last Will")


def test_sigterm_ends_it_within_five_seconds_with_everything_told(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    with Daemon(write_config(tmp_path, broker.port, PLAYED.format(video))) as daemon:
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"))
        status, seconds = daemon.terminate()
    assert status == 0
    assert seconds < 5
    assert " 0 kept in the outbox" in daemon.log
    wait_until(lambda: subscriber.of("status")[-1]["reason"] == "stopped", what="good-bye")


def test_sigterm_ends_it_within_five_seconds_without_a_broker(tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    with Daemon(write_config(tmp_path, free_port(), PLAYED.format(video))) as daemon:
        wait_until(lambda: "ready" in daemon.log)
        time.sleep(1)
        status, seconds = daemon.terminate()
    assert (status, seconds < 5) == (0, True)
    assert "0 messages acknowledged" in daemon.log
    assert " 0 kept in the outbox" not in daemon.log


def test_sigterm_ends_it_within_five_seconds_when_the_network_stalls(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    with Daemon(write_config(tmp_path, broker.port, PLAYED.format(video))) as daemon:
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"))
        broker.pause()
        time.sleep(0.5)
        status, seconds = daemon.terminate()
    assert (status, seconds < 5) == (0, True), seconds
    assert " 0 kept in the outbox" not in daemon.log


def test_sighup_reads_the_configuration_again(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    config = write_config(tmp_path, broker.port, PLAYED.format(video))
    with Daemon(config) as daemon:
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"))
        config.write_text(config.read_text().replace("id: left", "id: '07'"))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: {"box": 2} in counts(subscriber, "07"), what="the aisle's new name")
    boots = {body["boot"] for body in subscriber.of("state")}
    assert len(boots) == 1


def test_a_wrong_new_configuration_leaves_the_old_one_in_service(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    config = write_config(tmp_path, broker.port, PLAYED.format(video))
    with Daemon(config) as daemon:
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"))
        config.write_text(config.read_text().replace("id: left", "idd: left"))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "the old configuration stays in service" in daemon.log)
        told = len(subscriber.of("detections"))
        wait_until(lambda: len(subscriber.of("detections")) > told, what="it goes on")


def test_a_new_bundle_that_does_not_detect_gives_way_to_the_old_one(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    config = write_config(tmp_path, broker.port, PLAYED.format(video))
    with Daemon(config) as daemon:
        wait_until(lambda: {"box": 2} in counts(subscriber, "left"))
        bad = write_bundle(tmp_path / "bad", gain=0, expected_gain=1)
        write_config(tmp_path, broker.port, PLAYED.format(video), bundle=str(bad))
        daemon.signal(signal.SIGHUP)
        wait_until(lambda: "before it is in service again" in daemon.log)
        told = len(subscriber.of("detections"))
        wait_until(lambda: len(subscriber.of("detections")) > told, what="it goes on")

        wait_until(lambda: "golden" in subscriber.of("status")[-1]["note"], what="it says why")


def refuse(tmp_path, port=1, source="file:///nowhere.mp4", **changes):
    """Run it; return its exit status and the last line it wrote."""
    with Daemon(write_config(tmp_path, port, source, **changes)) as daemon:
        status = daemon.wait()
    return status, daemon.log.strip().splitlines()[-1]


def test_a_wrong_configuration_is_exit_2_and_names_file_and_line(tmp_path):
    status, line = refuse(tmp_path, camera=[])
    assert status == 2
    assert f"{tmp_path}/aisle-edge.yaml:" in line
    assert "did you mean cameras" in line or "cameras" in line


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "nowhere.mp4"),
        ({"bundle": "/nowhere/bundle"}, "bundle /nowhere/bundle: expected a directory"),
        ({"source": "images:///nowhere"}, "/nowhere"),
        ({"runtime": "tensorrt"}, "runtime tensorrt"),
        ({"outbox": {"path": "/proc/nowhere/outbox.db"}}, "/proc/nowhere"),
    ],
)
def test_what_cannot_start_is_exit_3_and_says_why(tmp_path, changes, message):
    if "source" not in changes and changes:
        changes["source"] = f"file://{paint_video(tmp_path / 'v.mp4', LEFT_TWO)}?loop=1"
    status, line = refuse(tmp_path, **changes)
    assert (status, message in line) == (3, True), line


def test_a_refused_password_is_exit_3_and_says_so(mosquitto, tmp_path):
    (tmp_path / "passwords").write_text("")
    lines = ("allow_anonymous false", "password_file {folder}/passwords")
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    with Mosquitto(mosquitto, tmp_path, lines) as broker:
        mqtt = {
            "host": "127.0.0.1",
            "port": broker.port,
            "username": "a07",
            "password_file": str(secret),
        }
        with Daemon(write_config(tmp_path, 1, PLAYED.format(video), mqtt=mqtt)) as daemon:
            status = daemon.wait()
    assert status == 3
    assert "refuse" in daemon.log.lower() or "not authori" in daemon.log.lower()
    assert "hunter2" not in daemon.log


def test_a_dead_camera_slows_no_other(broker, subscriber, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    cameras = [
        {"name": "dead", "source": "rtsp://127.0.0.1:1/x", "aisles": [{"id": "dead"}]},
        {"name": "well", "source": PLAYED.format(video), "fps": 10, "aisles": [{"id": "well"}]},
    ]
    config = write_config(tmp_path, broker.port, "", cameras=cameras)
    with Daemon(config):
        wait_until(lambda: {"box": 2} in counts(subscriber, "well"), what="the other one sees")
        wait_until(lambda: len(subscriber.of("detections")) > 20, what="at its rate")
    assert counts(subscriber, "dead") == [None] * len(counts(subscriber, "dead"))


def test_systemd_hears_that_it_is_ready_and_alive(broker, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO)
    heard = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(10)
        config = write_config(tmp_path, broker.port, PLAYED.format(video))
        with Daemon(config, NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="2000000") as d:
            while sum("WATCHDOG=1" in line for line in heard) < 3:
                heard.append(manager.recv(4096).decode())
            d.terminate()
            heard.append(manager.recv(4096).decode())
    assert any("READY=1" in line for line in heard)
    assert "STOPPING=1" in heard[-1]
