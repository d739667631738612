"""The promise: nothing the outbox has taken is lost, whoever is killed, and duplicates show."""

import signal
import time

import pytest

from tests.integration.broker import DURABLE, Mosquitto, Subscriber, wait_until
from tests.integration.daemon import Daemon, paint_video, write_config

MESSAGES = 2000


@pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx")
@pytest.mark.timeout(240)
def test_every_seq_of_2000_messages_arrives_through_five_kills(mosquitto, tmp_path):
    video = paint_video(tmp_path / "v.mp4", (255, 0, 200, 0), frames=60, fps=60)
    with Mosquitto(mosquitto, tmp_path, DURABLE) as broker, Subscriber(broker.port) as subscriber:
        config = write_config(
            tmp_path,
            broker.port,
            f"file://{video}?loop=1&realtime=1",
            publish={"detections_per_second": 60, "hysteresis_s": 0.5},
        )
        text = config.read_text().replace("fps: 10", "fps: 60")
        config.write_text(text)
        with Daemon(config) as daemon:
            after = iter(range(0, MESSAGES, MESSAGES // 6))

            def wait_for_more():
                wanted = next(after)
                wait_until(lambda: len(subscriber.seqs()) > wanted, 60, f"more than {wanted}")

            for victim in ("broker", "daemon", "broker", "daemon", "broker"):
                wait_for_more()
                if victim == "broker":
                    broker.kill()
                    time.sleep(1)
                    broker.start()
                else:
                    daemon.kill()
                    daemon.start()
            wait_until(lambda: len(subscriber.seqs()) >= MESSAGES, 60, "2,000 messages")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert " 0 kept in the outbox" in daemon.log
            first = min(body["first_seq"] for body in subscriber.of("status") if body["first_seq"])
            last = max(subscriber.seqs())
            wait_until(lambda: subscriber.seqs() == set(range(first, last + 1)), 10, "no gap")
    numbered = [body for _, body in subscriber.received if "seq" in body]
    ids = {body["id"]: body["seq"] for body in numbered}
    assert len(ids) == len(set(ids.values())) == last - first + 1 >= MESSAGES
    assert len({body["boot"] for body in numbered}) == 3
