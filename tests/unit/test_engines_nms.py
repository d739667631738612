"""Greedy NMS as plain ops, and as ONNX Runtime's operator, equals greedy NMS."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edge.detector.agreement import iou_matrix
from engines import contract, nms
from engines.graph import GraphBuilder

IOU = 0.45


AS_WRITTEN = {"plain ops": lambda model: model, "operator": nms.as_operators}
"""How an NMS may stand in a graph."""


@cache
def session(slots, *, labelled=True, written="plain ops"):
    model = AS_WRITTEN[written](model_of(slots, labelled=labelled))
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def model_of(slots, *, labelled=True):
    batch = "batch"
    shapes = {"b": [batch, slots, 4], "s": [batch, slots]}
    shapes |= {"l": [batch, slots]} if labelled else {}
    kinds = {"b": TensorProto.FLOAT, "s": TensorProto.FLOAT, "l": TensorProto.INT32}
    inputs = [helper.make_tensor_value_info(name, kinds[name], shapes[name]) for name in shapes]
    model = helper.make_model(
        helper.make_graph([], "nms", inputs, []),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = GraphBuilder(model)
    labels = "l" if labelled else None
    graph.publish(nms.suppress(graph, "b", "s", labels, slots, IOU), "kept")
    model.graph.output.append(
        helper.make_tensor_value_info("kept", TensorProto.FLOAT, [batch, slots])
    )
    return model


def in_graph(boxes, scores, labels, written="plain ops"):
    return in_batch(boxes[None], scores[None], labels[None], written)[0]


def in_batch(boxes, scores, labels, written):
    feed = {
        "b": boxes.astype(np.float32),
        "s": scores.astype(np.float32),
        "l": labels.astype(np.int32),
    }
    return session(scores.shape[1], written=written).run(["kept"], feed)[0]


def greedy(boxes, scores, labels):
    """The textbook's: take the best, drop what overlaps it, go on."""
    iou = iou_matrix(boxes, boxes).astype(np.float64)
    kept = np.zeros_like(scores)
    dropped = np.zeros(len(scores), bool)
    for i in range(len(scores)):
        if dropped[i]:
            continue
        kept[i] = scores[i]
        dropped |= (iou[i] > IOU) & (labels == labels[i])
    return kept


def staircase(length):
    """Boxes that overlap their next neighbour (IoU 0.54) and no other (IoU 0.25 at most)."""
    left = np.arange(length) * 3.0
    return np.stack([left, 0 * left, left + 10, 0 * left + 10], axis=1).astype(np.float32)


@st.composite
def layouts(draw):
    """Shelves of equal boxes, heaps of random ones, exact copies, few or many labels."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slots = draw(st.sampled_from([1, 2, 40, 120, nms.BLOCK + 1, 2 * nms.BLOCK + 90]))
    kind = draw(st.sampled_from(["heap", "shelf", "copies", "flat"]))
    if kind == "shelf":
        corner = np.stack([np.arange(slots) % 12 * 7.0, np.arange(slots) // 12 * 9.0], axis=1)
        corner += rng.normal(0, 1.5, corner.shape)
        size = np.full((slots, 2), 11.0)
    else:
        corner = rng.uniform(0, draw(st.sampled_from([20, 60, 300])), (slots, 2))
        size = rng.uniform(0 if kind == "flat" else 4, 25, (slots, 2))
    if kind == "copies":
        corner, size = corner[rng.integers(0, slots, slots)], np.full((slots, 2), 12.0)
    if kind == "flat":
        size[::3] = 0
    boxes = np.hstack([corner, corner + size]).astype(np.float32)
    ties = draw(st.booleans())
    scores = np.full(slots, 0.5) if ties else np.sort(rng.uniform(0.01, 1, slots))[::-1]
    labels = rng.integers(0, draw(st.sampled_from([1, 2, 80])), slots)
    return boxes, scores.astype(np.float32).copy(), labels


@pytest.mark.parametrize("written", AS_WRITTEN)
@settings(max_examples=120)
@given(layout=layouts())
def test_it_keeps_what_greedy_nms_keeps(layout, written):
    kept = in_graph(*layout, written)

    np.testing.assert_array_equal(kept, greedy(*layout))


@pytest.mark.parametrize("written", AS_WRITTEN)
@pytest.mark.parametrize("slots", [300, contract.SLOTS])
def test_a_full_house_of_dense_boxes_equals_greedy_nms(slots, written):
    rng = np.random.default_rng(7)
    corner = rng.uniform(0, 90, (slots, 2))
    boxes = np.hstack([corner, corner + rng.uniform(15, 30, (slots, 2))]).astype(np.float32)
    scores = np.sort(rng.uniform(0, 1, slots))[::-1].astype(np.float32).copy()
    labels = rng.integers(0, 2, slots)

    kept = in_graph(boxes, scores, labels, written)
    np.testing.assert_array_equal(kept, greedy(boxes, scores, labels))


@pytest.mark.parametrize("length", [2, nms.STEPS, nms.STEPS + 1])
def test_a_staircase_of_up_to_one_box_more_than_steps_equals_greedy_nms(length):
    boxes, scores = staircase(length), np.linspace(0.9, 0.5, length).astype(np.float32)
    labels = np.zeros(length, int)

    np.testing.assert_array_equal(in_graph(boxes, scores, labels), greedy(boxes, scores, labels))


def test_a_longer_staircase_differs_from_the_first_unsettled_box_on_and_nowhere_before():
    length = nms.STEPS + 9
    boxes, scores = staircase(length), np.linspace(0.9, 0.5, length).astype(np.float32)
    labels = np.zeros(length, int)

    kept = in_graph(boxes, scores, labels) > 0
    expected = greedy(boxes, scores, labels) > 0

    # STEPS is even: an unsettled box is kept, which is what every other one of them deserves.
    assert np.flatnonzero(kept != expected).tolist() == list(range(nms.STEPS + 1, length, 2))
    assert kept[nms.STEPS :].all()


def test_as_an_operator_it_has_no_such_bound():
    length = nms.STEPS + 9
    layout = staircase(length), np.linspace(0.9, 0.5, length).astype(np.float32), np.zeros(length)

    np.testing.assert_array_equal(in_graph(*layout, "operator"), greedy(*layout))


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_the_frames_of_a_batch_know_nothing_of_each_other(written):
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 60, (3, 50, 2))
    boxes = np.concatenate([corner, corner + 15], axis=2).astype(np.float32)
    scores = np.sort(rng.uniform(0.01, 1, (3, 50)).astype(np.float32))[:, ::-1]
    labels = rng.integers(0, 3, (3, 50))

    kept = in_batch(boxes, scores, labels, written)

    for frame in range(3):
        expected = greedy(boxes[frame], scores[frame], labels[frame])
        np.testing.assert_array_equal(kept[frame], expected)


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_a_box_turned_inside_out_suppresses_nothing_and_stays(written):
    boxes = np.array([[0, 0, 10, 10], [10, 10, 0, 0], [10, 0, 0, 10]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)

    np.testing.assert_array_equal(in_graph(boxes, scores, np.zeros(3, int), written), scores)


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_a_slot_without_a_score_stays_without(written):
    boxes = np.tile(np.array([0, 0, 10, 10], np.float32), (3, 1))
    scores = np.array([0.9, 0, 0], np.float32)

    np.testing.assert_array_equal(in_graph(boxes, scores, np.zeros(3, int), written), scores)


def test_as_an_operator_nothing_is_left_of_the_plain_ops():
    ops = [node.op_type for node in nms.as_operators(model_of(300)).graph.node]

    assert ops.count("NonMaxSuppression") == 1
    assert not {"HardSigmoid", "Trilu", "MatMul"}.intersection(ops)


def test_a_staircase_begins_anew_with_each_block():
    length = 2 * nms.STEPS
    boxes, scores = staircase(length), np.linspace(0.9, 0.5, length)
    # Boxes far away fill the first block up to the middle of the stairs.
    filled = nms.BLOCK - nms.STEPS
    away = np.arange(filled)[:, None] * [20.0, 0, 20, 0] + [0, 500, 10, 510]
    boxes = np.vstack([away, boxes]).astype(np.float32)
    scores = np.concatenate([np.linspace(0.99, 0.91, filled), scores]).astype(np.float32)
    labels = np.zeros(len(boxes), int)

    np.testing.assert_array_equal(in_graph(boxes, scores, labels), greedy(boxes, scores, labels))


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_a_box_without_area_suppresses_nothing_and_stays(written):
    boxes = np.array([[0, 0, 10, 10], [5, 5, 5, 5], [5, 5, 5, 5]], np.float32)
    scores = np.array([0.9, 0.8, 0.7], np.float32)

    np.testing.assert_array_equal(in_graph(boxes, scores, np.zeros(3, int), written), scores)


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_boxes_of_other_labels_do_not_compete(written):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)

    np.testing.assert_array_equal(in_graph(boxes, scores, np.array([0, 1]), written), scores)


@pytest.mark.parametrize("written", AS_WRITTEN)
def test_without_labels_all_boxes_compete(written):
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10]], np.float32)
    scores = np.array([0.9, 0.8], np.float32)
    alone = session(2, labelled=False, written=written)

    kept = alone.run(["kept"], {"b": boxes[None], "s": scores[None]})[0][0]

    np.testing.assert_array_equal(kept, np.array([0.9, 0], np.float32))


@pytest.mark.parametrize("labelled", [False, True])
def test_no_table_of_every_box_with_every_other_is_folded_into_the_file(labelled, tmp_path):
    slots, folded = 400, tmp_path / "folded.onnx"
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(folded)

    model = model_of(slots, labelled=labelled).SerializeToString()
    onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    assert folded.stat().st_size < slots * slots
