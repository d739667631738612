"""Raw heads are decoded with the anchors and in the way that the user says, and never guessed."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from engines import cli
from engines.errors import ModelError
from tests import by_hand
from tests.networks_yolo import ANCHORS, raw_heads, yolov6

GIVEN = tuple(ANCHORS.ravel().tolist())
SIZE = (96, 64)
LAYOUTS = ["anchors", "channels", "last", "last channels"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def plain(x):
    return x


def yolov3(cell, stride, anchor, row, squash):
    centre = (squash(row[:2]) + cell) * stride
    return centre, np.exp(row[2:4]) * anchor


def yolov4(cell, stride, anchor, row, squash):
    spread = {8: 1.2, 16: 1.1, 32: 1.05}[stride]
    centre = (squash(row[:2]) * spread - (spread - 1) / 2 + cell) * stride
    return centre, np.exp(row[2:4]) * anchor


def yolov5(cell, stride, anchor, row, squash):
    centre = (squash(row[:2]) * 2 - 0.5 + cell) * stride
    return centre, (squash(row[2:4]) * 2) ** 2 * anchor


DECODINGS = {"yolov3": yolov3, "yolov4": yolov4, "yolov5-raw": yolov5}


def decoded(model, pixels, decode, squash):
    """Decode every anchor of every cell, one by one."""
    planes = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    outputs = by_hand.session(model).run(None, {"images": planes})
    boxes, scores = [], []
    for stride, values, anchors in zip((8, 16, 32), outputs, ANCHORS, strict=True):
        for number, anchor in enumerate(anchors.reshape(3, 2)):
            for y, x in np.ndindex(values.shape[2:4]):
                row = values[0, number, y, x]
                centre, sides = decode(np.array([x, y]), stride, anchor, row, squash)
                boxes.append([*(centre - sides / 2), *(centre + sides / 2)])
                scores.append(squash(row[4]) * squash(row[5:]))
    return np.float32(boxes), np.float32(scores)


@pytest.mark.parametrize("done", [False, True], ids=["raw", "sigmoid applied"])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("family", DECODINGS)
def test_it_detects_what_a_decode_by_hand_detects(tmp_path, family, layout, done):
    model = raw_heads(size=SIZE, layout=layout, sigmoid=done)
    adapted = by_hand.understood(tmp_path, model, family=family, anchors=GIVEN)
    pixels = by_hand.frame(SIZE)

    five_dimensions = raw_heads(size=SIZE, sigmoid=done)
    boxes, scores = decoded(five_dimensions, pixels, DECODINGS[family], plain if done else sigmoid)
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, 0.45)

    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, boxes[kept], best[kept], labels[kept])


@pytest.mark.parametrize(("family", "trained"), [("yolov4", True), ("yolov5-raw", False)])
def test_one_label_counts_where_it_is_trained(tmp_path, family, trained):
    model, pixels = raw_heads(labels=1, size=SIZE, sigmoid=True), by_hand.frame(SIZE)
    adapted = by_hand.understood(tmp_path, model, family=family, anchors=GIVEN)
    planes = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    rows = np.concatenate(
        [out.reshape(-1, 6) for out in by_hand.session(model).run(None, {"images": planes})]
    )

    best = (rows[:, 4] * rows[:, 5] if trained else rows[:, 4]).max()

    assert by_hand.detected(adapted, pixels)[1].max() == pytest.approx(best)


def test_heads_largest_stride_first_are_put_in_order(tmp_path):
    usual, reverse = raw_heads(size=SIZE), raw_heads(size=SIZE)
    outputs = list(reverse.graph.output)[::-1]
    del reverse.graph.output[:]
    reverse.graph.output.extend(outputs)
    pixels = by_hand.frame(SIZE)

    one, other = (
        by_hand.detected(by_hand.understood(tmp_path, m, family="yolov3", anchors=GIVEN), pixels)
        for m in (usual, reverse)
    )

    by_hand.assert_same(other, *one)


def test_anchors_are_read_from_the_metadata(tmp_path):
    model = raw_heads()
    helper.set_model_props(model, {"anchors": repr(ANCHORS.tolist())})

    adapted = by_hand.understood(tmp_path, model, family="yolov3")

    assert f"anchors {list(GIVEN)} (else: --anchors)" in adapted.recognised.evidence


@pytest.mark.parametrize("family", [None, *DECODINGS])
def test_without_anchors_it_asks_for_them(tmp_path, family):
    with pytest.raises(ModelError, match=r"need the anchors .* give --anchors W,H"):
        by_hand.understood(tmp_path, raw_heads(), family=family)


def test_with_anchors_it_asks_how_they_are_meant(tmp_path):
    with pytest.raises(
        ModelError, match=r"--family yolov3 or --family yolov4 or --family yolov5-raw$"
    ):
        by_hand.understood(tmp_path, raw_heads(), anchors=GIVEN)


@pytest.mark.parametrize(
    ("anchors", "says"),
    [
        (GIVEN[:8], "anchors for 3 strides, found 8"),
        (GIVEN[:12], "are no heads of 2 anchors per cell"),
    ],
)
def test_anchors_that_do_not_fit_are_refused(tmp_path, anchors, says):
    model = raw_heads(labels=4, layout="channels")

    with pytest.raises(ModelError, match=says):
        by_hand.understood(tmp_path, model, family="yolov3", anchors=anchors)


def test_maps_of_another_family_stay_that_familys_though_anchors_are_given(tmp_path):
    adapted = by_hand.understood(tmp_path, yolov6(maps=True, labels=4), anchors=GIVEN)

    assert adapted.family.name == "yolov6"


@pytest.mark.parametrize("text", ["10,13,16", "a,b", "", "10,13 -4,5"])
def test_anchors_that_are_no_pairs_of_numbers_are_wrong_usage(text):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["m.onnx", "--explain", "--anchors", text])

    assert stopped.value.code == 2
