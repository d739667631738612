"""EfficientDet: raw maps of five strides, decoded by anchors that are not in the graph."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from engines.families.efficientdet import anchors
from tests import by_hand
from tests.networks_efficientdet import EACH, LEVELS, efficientdet

SIZE = (256, 128)
FAMILIES = {
    # name: (mean, deviation, side of the smallest anchor in strides)
    "efficientdet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 4),
    "efficientdet-lite": ((0.5,) * 3, (0.5,) * 3, 3),
}


def anchor(stride, number, column, row, side):
    """Return one anchor, cy, cx, height and width, as effdet's generator has them."""
    size = side * stride * 2 ** (number // 3 / 3)
    width, height = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))[number % 3]
    return (row + 0.5) * stride, (column + 0.5) * stride, size * height, size * width


def decoded(outputs, side):
    """Return corners (N, 4) and logits (N, labels), cell by cell and anchor by anchor."""
    boxes, logits = [], []
    for stride, scores, moves in zip(LEVELS, outputs[:5], outputs[5:], strict=True):
        labels = scores.shape[1] // EACH
        for row, column, number in np.ndindex(*scores.shape[2:], EACH):
            cy, cx, height, width = anchor(stride, number, column, row, side)
            ty, tx, th, tw = moves[0, number * 4 : number * 4 + 4, row, column]
            y, x = cy + ty * height, cx + tx * width
            h, w = np.exp(th) * height, np.exp(tw) * width
            boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
            logits.append(scores[0, number * labels : (number + 1) * labels, row, column])
    return np.clip(boxes, 0, SIZE * 2), np.array(logits)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [3, 4])
def test_it_detects_what_a_decode_by_hand_detects(tmp_path, family, labels):
    mean, std, side = FAMILIES[family]
    model, pixels = efficientdet(size=SIZE, labels=labels), by_hand.frame(SIZE)
    fed = ((pixels[..., ::-1] / 255 - mean) / std).transpose(2, 0, 1)[None].astype(np.float32)
    boxes, logits = decoded(by_hand.session(model).run(None, {"images": fed}), side)
    scores, named = 1 / (1 + np.exp(-logits.max(1))), logits.argmax(1)
    kept = by_hand.suppressed(boxes, scores, named, 0.5)

    adapted = by_hand.understood(tmp_path, model, family=family)

    assert len(adapted.labels) == labels
    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, boxes[kept], scores[kept], named[kept])


@pytest.mark.parametrize("family", FAMILIES)
def test_how_large_its_anchors_are_and_how_it_is_fed_has_to_be_said(tmp_path, family):
    says = "not certain .*say which it is: --family efficientdet or --family efficientdet-lite"
    with pytest.raises(ModelError, match=says):
        by_hand.understood(tmp_path, efficientdet())

    spec = by_hand.understood(tmp_path, efficientdet(), family=family).input

    assert spec.letterbox == "top-left"


def test_maps_of_a_side_that_is_no_multiple_of_all_strides_round_up():
    found = anchors((320, 320), 4.0)

    assert len(found) == EACH * (40**2 + 20**2 + 10**2 + 5**2 + 3**2)
    last = found[-EACH]
    assert np.allclose((last[:2] + last[2:]) / 2, 320 * 2.5 / 3)
    assert np.allclose(last[2:] - last[:2], 4 * 320 / 3)


def test_a_fixed_batch_is_freed(tmp_path):
    model = efficientdet(batch=2)

    assert by_hand.understood(tmp_path, model, family="efficientdet").network.batched


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (efficientdet(sigmoid=True), "hold no logits"),
        (efficientdet(levels=LEVELS[:4]), r"expected maps \(1, 9 \* labels, h, w\)"),
    ],
    ids=["scores", "four strides"],
)
def test_what_is_no_efficientdet_is_named(tmp_path, model, says):
    with pytest.raises(ModelError, match=says):
        by_hand.understood(tmp_path, model, family="efficientdet")
