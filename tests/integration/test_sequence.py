"""The promise: nothing the outbox has taken is lost, whoever is killed, and duplicates show."""

import signal
import time
from datetime import datetime, timezone

import pytest

from tests.integration.broker import DURABLE, Mosquitto, Subscriber, wait_until
from tests.integration.daemon import LEFT_TWO, PLAYED, Daemon, paint_video, write_config

MESSAGES = 2000


def behind_s(subscriber):
    """Return how old the message that came last was made, in seconds."""
    made = [body["time"] for _, body in subscriber.received[-200:] if "seq" in body]
    newest = datetime.fromisoformat(max(made).replace("Z", "+00:00"))
    return (datetime.now(timezone.utc) - newest).total_seconds()


@pytest.mark.needs("mosquitto", "cv2", "onnxruntime", "onnx")
@pytest.mark.timeout(240)
def test_every_seq_of_2000_messages_arrives_through_five_kills(mosquitto, tmp_path):
    video = paint_video(tmp_path / "v.mp4", LEFT_TWO, frames=60, fps=60)
    with Mosquitto(mosquitto, tmp_path, DURABLE) as broker, Subscriber(broker.port) as subscriber:
        config = write_config(
            tmp_path,
            broker.port,
            PLAYED.format(video),
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
                    time.sleep(0.3)
                    broker.start()
                else:
                    daemon.kill()
                    daemon.start()
            wait_until(lambda: len(subscriber.seqs()) >= MESSAGES, 60, "2,000 messages")
            # Where much else runs it is behind by more than a stop has time to send.
            wait_until(lambda: behind_s(subscriber) < 1, 60, "caught up")
            daemon.signal(signal.SIGTERM)
            assert daemon.wait() == 0
            assert " 0 kept in the outbox" in daemon.log
            first = min(body["first_seq"] for body in subscriber.of("status") if body["first_seq"])
            last = max(subscriber.seqs())
            wanted = set(range(first, last + 1))
            for _ in range(200):
                if subscriber.seqs() == wanted:
                    break
                time.sleep(0.1)
            assert sorted(subscriber.seqs() ^ wanted) == []
    numbered = [body for _, body in subscriber.received if "seq" in body]
    ids = {body["id"]: body["seq"] for body in numbered}
    assert len(ids) == len(set(ids.values())) == last - first + 1 >= MESSAGES
    assert len({body["boot"] for body in numbered}) == 3
