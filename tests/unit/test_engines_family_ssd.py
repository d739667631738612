"""SSD: scores with a background, corners in 0..1."""

from __future__ import annotations

import numpy as np
import pytest

from engines import nms
from engines.errors import ModelError
from tests import by_hand, networks
from tests.networks_ssd import old_style, ssd

SIZE = (64, 48)


def expected(model, pixels):
    """Decode as pytorch-ssd does."""
    fed = (pixels[:, :, ::-1].astype(np.float32) - 127) / 128
    scores, boxes = by_hand.session(model).run(None, {"images": fed.transpose(2, 0, 1)[None]})
    shown = scores[0][:, 1:]
    best, labels = shown.max(1), shown.argmax(1)
    corners = boxes[0] * np.float32([*SIZE, *SIZE])
    kept = by_hand.suppressed(corners, best, labels, nms.IOU)
    return corners[kept], best[kept], labels[kept]


def test_it_detects_what_a_decode_by_hand_detects(tmp_path):
    model, pixels = ssd(size=SIZE), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "ssd"
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_the_background_is_no_label(tmp_path):
    adapted = by_hand.understood(tmp_path, ssd(labels=3))

    assert len(adapted.labels) == 3
    assert by_hand.detected(adapted, by_hand.frame(SIZE))[2].max() < 3


def test_the_outputs_may_come_in_any_order(tmp_path):
    model = ssd(size=SIZE)
    turned = list(model.graph.output)[::-1]
    del model.graph.output[:]
    model.graph.output.extend(turned)

    assert by_hand.understood(tmp_path, model).recognised.label_count == 3


def test_weights_among_the_inputs_are_no_inputs(tmp_path):
    assert by_hand.understood(tmp_path, old_style(ssd(size=SIZE))).family.name == "ssd"


def test_frames_are_stretched(tmp_path):
    assert by_hand.understood(tmp_path, ssd()).input.letterbox == "stretch"


def test_a_network_that_takes_batches_is_offered_for_batches(tmp_path):
    adapted = by_hand.understood(tmp_path, ssd(size=SIZE))
    frames = np.stack([by_hand.frame(SIZE, seed) for seed in (1, 2)])

    boxes = by_hand.session(adapted.graph).run(["boxes"], {"frames": frames})[0]

    assert boxes.shape == (
        2,
        adapted.graph.graph.output[0].type.tensor_type.shape.dim[1].dim_value,
        4,
    )


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (ssd(corners=False), "holds no corners in 0..1"),
        (ssd(softmax=False), "expected a softmax"),
        (networks.yolox(), "expected a softmax"),
    ],
    ids=["boxes by centre", "logits", "one output"],
)
def test_what_is_no_ssd_is_named(tmp_path, model, reason):
    with pytest.raises(ModelError, match=reason):
        by_hand.understood(tmp_path, model, family="ssd")


def test_other_names_of_the_outputs_are_a_doubt(tmp_path):
    model = ssd(names=("cls", "loc"))

    with pytest.raises(ModelError, match="family is not certain"):
        by_hand.understood(tmp_path, model)
    assert by_hand.understood(tmp_path, model, family="ssd").recognised.doubts
