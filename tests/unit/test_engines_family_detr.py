"""The DETR lineage before its post-processing: logits and boxes of queries."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from tests import by_hand, networks_detr
from tests.networks_detr import detr

SIZE = (64, 48)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


def outputs(model, pixels, *, normalised):
    """Run the network as its own scripts feed it."""
    fed = pixels[:, :, ::-1].astype(np.float32) / 255
    if normalised:
        fed = (fed - MEAN) / STD
    return [
        x[0] for x in by_hand.session(model).run(None, {"images": fed.transpose(2, 0, 1)[None]})
    ]


def corners(boxes):
    """Return cxcywh in 0..1 as xyxy in pixels."""
    low, high = boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2
    return np.hstack([low, high]) * np.float32([*SIZE, *SIZE])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("name", "patches", "hybrid"), [("rt-detr", False, True), ("rf-detr", True, False)]
)
def test_sigmoids_give_the_best_pairs_of_query_and_label(tmp_path, name, patches, hybrid):
    model, pixels = detr(patches=patches, hybrid=hybrid), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == name
    logits, boxes = outputs(model, pixels, normalised=patches)
    pairs = sigmoid(logits).ravel()
    order = np.argsort(-pairs, kind="stable")
    query, label = order // 3, order % 3
    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, corners(boxes)[query], pairs[order], label)


def test_a_softmax_gives_each_query_its_best_label(tmp_path):
    model, pixels = detr(softmax=True, hybrid=False), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "detr"
    assert len(adapted.labels) == 3
    logits, boxes = outputs(model, pixels, normalised=True)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    best, labels = shares[:, :-1].max(1), shares[:, :-1].argmax(1)
    order = np.argsort(-best, kind="stable")
    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, corners(boxes)[order], best[order], labels[order])


def test_ultralytics_joined_output(tmp_path):
    model, pixels = networks_detr.ultralytics(), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "rt-detr-ultralytics"
    (joined,) = outputs(model, pixels, normalised=False)
    best, labels = joined[:, 4:].max(1), joined[:, 4:].argmax(1)
    order = np.argsort(-best, kind="stable")
    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, corners(joined[:, :4])[order], best[order], labels[order])


def test_ultralytics_rows(tmp_path):
    model, pixels = networks_detr.ultralytics(rows=True), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "rt-detr-ultralytics"
    assert len(adapted.labels) == 3
    (rows,) = outputs(model, pixels, normalised=False)
    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, corners(rows[:, :4]), rows[:, 4], rows[:, 5])


def test_there_is_no_nms(tmp_path):
    adapted = by_hand.understood(tmp_path, detr())

    assert adapted.iou is None
    assert not any(node.op_type == "HardSigmoid" for node in adapted.graph.graph.node)


def test_other_states_of_the_queries_do_not_matter(tmp_path):
    assert by_hand.understood(tmp_path, detr(extra=True)).recognised.label_count == 3


def test_unsure_how_it_was_fed_it_asks(tmp_path):
    says = r"not certain.*no 3x3 convolution follows its attention; it is fed pixels in 0\.\.1"
    with pytest.raises(ModelError, match=says) as raised:
        by_hand.understood(tmp_path, detr(hybrid=False))

    assert "--family rt-detr or --family rf-detr" in str(raised.value)


def test_queries_that_sample_nothing_are_no_ultralytics_rt_detr(tmp_path):
    with pytest.raises(ModelError, match="no GridSample"):
        by_hand.understood(
            tmp_path, networks_detr.ultralytics(samples=False), family="rt-detr-ultralytics"
        )
