"""The daemon on a plan, from a picture to a real broker, with doubles of GPU and TensorRT."""

import json
from pathlib import Path

import pytest

from tests.fakes.gpu import kernel
from tests.integration.broker import Asker, wait_until
from tests.integration.daemon import LEFT_TWO, PLAYED, Daemon, paint_video, write_config
from tests.plans import write_plan_bundle

pytestmark = pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx")

MACHINE = Path(__file__).parents[1] / "fakes" / "gpu_machine"


@pytest.fixture
def config(broker, tmp_path):
    kernel()
    write_plan_bundle(tmp_path / "bundle")
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO, frames=40)
    return lambda **changes: write_config(tmp_path, broker.port, PLAYED.format(video), **changes)


def make_foreign(tmp_path):
    passport = tmp_path / "bundle" / "bundle.json"
    content = json.loads(passport.read_text())
    content["plan"]["compute_capability"] = "7.2"
    passport.write_text(json.dumps(content))


def runtimes(subscriber):
    return [body["runtime"] for body in subscriber.of("status") if body["status"] == "online"]


def test_what_stands_in_an_aisle_is_told_by_the_plan(config, subscriber):
    with Daemon(config(), PYTHONPATH=str(MACHINE)) as daemon:
        wait_until(
            lambda: any(b["counts"] == {"box": 2} for b in subscriber.of("state")),
            what="left has two boxes",
        )
        wait_until(lambda: runtimes(subscriber)[-1].startswith("tensorrt 10.3.0, Fake Orin, int8"))
        status, seconds = daemon.terminate()
    assert (status, seconds < 5) == (0, True), daemon.log
    seen = next(d for d in subscriber.of("detections") if d["aisle"] == "left")
    assert seen["objects"][0]["xyxy"] == [0, 0, 160, 120]


def test_commands_are_carried_out_on_the_plan_between_its_batches(config, broker):
    mqtt = {"host": "127.0.0.1", "port": broker.port, "commands": True}
    base = "aisle-edge/north/a07"
    with (
        Daemon(config(mqtt=mqtt), PYTHONPATH=str(MACHINE)) as daemon,
        Asker(broker.port, base) as asker,
    ):
        wait_until(lambda: "ready" in daemon.log)
        asker.wait_for_the_device()
        tested, seen = asker.ask("self-test"), asker.ask("snapshot", {"boxes": True})
    assert (tested["result"]["verdict"], tested["result"]["problems"]) == ("pass", [])
    assert tested["result"]["golden"]["runtime"].startswith("tensorrt 10.3.0, Fake Orin, int8")
    assert [(o["label"], o["xyxy"]) for o in seen["result"]["objects"]] == [
        ("box", [0, 0, 160, 120]),
        ("box", [0, 120, 160, 240]),
    ]


def test_the_portable_graph_takes_over_and_the_status_message_says_why(
    config, subscriber, tmp_path
):
    make_foreign(tmp_path)
    with Daemon(config(), PYTHONPATH=str(MACHINE)):
        wait_until(
            lambda: any(b["counts"] == {"box": 2} for b in subscriber.of("state")),
            what="left has two boxes",
        )
        wait_until(lambda: runtimes(subscriber)[-1].startswith("onnxruntime"))
    assert "instead of the plan: " in runtimes(subscriber)[-1]
    assert "compiled for compute capability 7.2, here is 8.7" in runtimes(subscriber)[-1]


def test_it_does_not_where_the_configuration_asks_for_tensorrt(config, tmp_path):
    make_foreign(tmp_path)
    with Daemon(config(runtime="tensorrt"), PYTHONPATH=str(MACHINE)) as daemon:
        status = daemon.wait()
    line = daemon.log.strip().splitlines()[-1]
    assert status == 3
    assert "compiled for compute capability 7.2, here is 8.7" in line
    assert "edge-build-engine --plan" in line
