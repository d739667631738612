"""Letterbox, decoding, agreement: the maths between a frame and its detections."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detections import Detections
from edge.detector.agreement import agreement, iou_matrix
from edge.detector.bundle import InputSpec
from edge.detector.detector import decode
from edge.detector.letterbox import letterbox, place
from edge.detector.runtime import RawDetections

POLICIES = ("centered", "top-left", "stretch")
sizes = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


def spec(letterbox_policy, width=640, height=640):
    return InputSpec(width=width, height=height, letterbox=letterbox_policy, pad=114)


@given(sizes, st.sampled_from(POLICIES), st.integers(8, 1280), st.integers(8, 1280))
def test_a_placed_frame_lies_inside_the_input(frame_wh, policy, width, height):
    placed = place(frame_wh, spec(policy, width, height))
    for axis, limit in enumerate((width, height)):
        assert placed.offset_xy[axis] >= 0
        assert 1 <= placed.size_wh[axis] <= limit - placed.offset_xy[axis]


@given(st.tuples(st.integers(32, 4000), st.integers(32, 4000)), st.sampled_from(POLICIES))
def test_boxes_come_back_to_where_they_were(frame_wh, policy):
    placed = place(frame_wh, spec(policy))
    box = np.float32([[0.1, 0.2, 0.7, 0.9]]) * np.float32(frame_wh * 2)
    there = box * np.float32(placed.scale_xy * 2) + np.float32(placed.offset_xy * 2)
    np.testing.assert_allclose(placed.to_frame(there), box, rtol=1e-4, atol=0.05)


def test_boxes_are_clipped_to_the_frame():
    placed = place((100, 50), spec("centered"))
    assert placed.to_frame(np.float32([[-99, -99, 9999, 9999]])).tolist() == [[0, 0, 100, 50]]


@pytest.mark.parametrize(
    ("policy", "grey_rows", "grey_columns"),
    [("centered", [0, 159, 480, 639], []), ("top-left", [320, 639], []), ("stretch", [], [])],
)
def test_only_the_bars_are_grey(policy, grey_rows, grey_columns):
    pixels, _ = letterbox(np.full((100, 200, 3), 7, np.uint8), spec(policy))
    assert pixels.shape == (640, 640, 3)
    grey = (pixels == 114).all(axis=(1, 2))
    assert grey[grey_rows].all()
    assert (pixels == 7).all(axis=(1, 2)).sum() == {"stretch": 640}.get(policy, 320)


def raw(scores, labels=None):
    k = len(scores)
    boxes = np.tile(np.float32([10, 10, 20, 20]), (1, k, 1))
    return RawDetections(boxes, np.float32([scores]), np.int32([labels or [0] * k]))


def test_decoding_keeps_what_scores_enough_and_never_an_unused_slot():
    placed = place((640, 640), spec("centered"))
    found = decode(raw([0.9, 0.0, 0.3, 0.1], [3, 0, 1, 2]), 0, placed, 0.25)
    assert found.labels.tolist() == [3, 1]
    assert len(decode(raw([0.9, 0.0]), 0, placed, 0.0)) == 1


def boxes(*rows):
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


ONE = boxes((0, 0, 10, 10, 0.9, 0))


@pytest.mark.parametrize(
    ("found", "recall", "precision"),
    [
        (ONE, 1, 1),
        (Detections.none(), 0, 1),
        (boxes((0, 0, 10, 10, 0.9, 1)), 0, 0),
        (boxes((0, 0, 10, 10, 0.2, 0)), 0, 1),
        (boxes((0, 0, 10, 10, 0.9, 0), (50, 50, 60, 60, 0.8, 0)), 1, 0.5),
        (boxes((0, 0, 10, 10, 0.9, 0), (0, 0, 10, 9, 0.8, 0)), 1, 0.5),
    ],
)
def test_agreement_counts_what_was_kept_and_what_was_invented(found, recall, precision):
    result = agreement([(ONE, found)], 0.25)
    assert (result.recall, result.precision) == (recall, precision)


def test_agreement_measures_shifts():
    result = agreement([(ONE, boxes((0, 0, 10, 9, 0.8, 0)))], 0.25)
    assert result.mean_iou == pytest.approx(0.9)
    assert result.mean_corner_shift_px == pytest.approx(0.25)
    assert result.mean_score_shift == pytest.approx(0.1)
    assert result.mean_score_bias == pytest.approx(-0.1)


@given(st.lists(st.tuples(*[st.floats(0, 100, width=32)] * 4), min_size=1, max_size=8))
def test_iou_of_a_box_with_itself_is_one_and_iou_is_symmetric(rows):
    xyxy = np.float32([(min(a, c), min(b, d), max(a, c) + 1, max(b, d) + 1) for a, b, c, d in rows])
    iou = iou_matrix(xyxy, xyxy)
    np.testing.assert_allclose(np.diag(iou), 1, rtol=1e-5)
    np.testing.assert_allclose(iou, iou.T, rtol=1e-5)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ((np.zeros((1, 4)), np.zeros(1, np.float32), np.zeros(1, np.int32)), "Detections.xyxy"),
        (
            (np.zeros((1, 4), np.float32), np.zeros(1, np.float32), np.zeros(2, np.int32)),
            "Detections.labels",
        ),
    ],
)
def test_wrong_arrays_are_refused_by_name(arrays, message):
    with pytest.raises(ValueError, match=message):
        Detections(*arrays)
