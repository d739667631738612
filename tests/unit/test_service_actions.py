"""What a snapshot says of what was detected in it."""

import json
from datetime import datetime, timezone
from types import SimpleNamespace

import numpy as np
import pytest

from edge.config import Config
from edge.detector.bundle import load_bundle
from edge.frame import Blindness, Frame, FrameStamp
from edge.reporting.commands import SnapshotRequest
from edge.reporting.compose import Asked
from edge.service.actions import Actions
from edge.service.daemon import compose_for
from edge.service.pipeline import Pipeline
from tests.quadrants import write_bundle
from tests.raw import raw_detections

pytestmark = pytest.mark.needs("cv2", "onnx", "onnxruntime")


def snapshot_of(tmp_path, detected, blindness=None):
    """Return the `objects` of the answer as a subscriber reads it."""
    bundle = load_bundle(write_bundle(tmp_path / "bundle"))
    config = Config.model_validate(
        {
            "bundle": bundle.path,
            "cameras": [{"name": "a07", "source": "csi://0", "aisles": [{"id": "07"}]}],
            "mqtt": {"host": "h"},
        }
    )
    composer = compose_for(config, bundle)
    stamp = FrameStamp("a07", 0, datetime.now(timezone.utc), 0.0, (64, 64), blindness)
    frame = Frame(stamp, np.zeros((64, 64, 3), np.uint8))
    pipeline = Pipeline(config, bundle, composer, SimpleNamespace(runtime=None), print)
    pipeline.viewfinder = SimpleNamespace(look=lambda *_: frame)
    detection = SimpleNamespace(ready=True, infer=lambda *_: raw_detections(detected))
    actions = Actions(config, bundle, composer, print)
    actions.work_on(pipeline, detection, print)

    answer = actions.carry_out(SnapshotRequest(boxes=True))

    reply = composer.reply(Asked("snapshot", "answers/me"), answer)
    return json.loads(reply.payload)["result"]["objects"]


def test_what_was_detected_is_listed(tmp_path):
    (found,) = snapshot_of(tmp_path, [([0, 0, 32, 32], 0.9, 0)])

    assert (found["label"], found["score"]) == ("box", 0.9)


def test_where_there_is_nothing_the_list_is_empty(tmp_path):
    assert snapshot_of(tmp_path, []) == []


def test_of_a_picture_that_shows_nothing_nobody_says_that_it_is_empty(tmp_path):
    assert snapshot_of(tmp_path, [], Blindness.DARK) is None
