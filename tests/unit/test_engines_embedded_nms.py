"""An NMS that an export embeds is cut off, and what it was fed with is taken."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelError
from engines.graph import GraphBuilder
from engines.reading.embedded_nms import cuts, overlap
from tests import by_hand, networks, networks_detr, networks_yolo
from tests.networks_boxes import with_nms_for_each
from tests.networks_yolo import with_best_label, with_nms

EXPORTS = {
    "ultralytics": (lambda: networks.ultralytics(corners=True), True),
    "ultralytics, distributions": (lambda: networks.ultralytics(corners=True, bins=8), True),
    "yolov5": (networks_yolo.yolov5, False),
    "yolov6": (networks_yolo.yolov6, False),
    "yolox": (networks_yolo.yolox_decoded, False),
}


@pytest.mark.parametrize("plugin", [False, True], ids=["standard", "plugin"])
@pytest.mark.parametrize("name", EXPORTS)
def test_it_detects_what_the_same_model_without_nms_detects(tmp_path, name, plugin):
    export, turned = EXPORTS[name]
    pixels = by_hand.frame((64, 64))
    adapted = by_hand.understood(tmp_path, with_nms(export(), plugin=plugin, turned=turned))
    wanted = by_hand.understood(tmp_path, export(), iou=0.6)

    assert adapted.family.name == name.split(",")[0]
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(wanted, pixels))


@pytest.mark.parametrize(
    ("export", "turned", "form"),
    [
        (networks.ultralytics, True, {"moved": True}),
        (networks.ultralytics, True, {"apart": True}),
        (lambda: networks.ultralytics(labels=1), True, {}),
        (networks_yolo.yolov5, False, {"moved": True}),
        (lambda: networks_yolo.yolov5(labels=1), False, {"objectness": True}),
        (networks_yolo.yolox_decoded, False, {"moved": True}),
    ],
)
def test_what_keeps_the_best_label_of_each_box_is_cut_off_too(tmp_path, export, turned, form):
    pixels = by_hand.frame((64, 64))
    adapted = by_hand.understood(tmp_path, with_best_label(export(), turned=turned, **form))
    wanted = by_hand.understood(tmp_path, export())

    assert (adapted.family, adapted.labels) == (wanted.family, wanted.labels)
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(wanted, pixels))


def test_a_best_label_may_be_of_a_model_that_needs_no_nms(tmp_path):
    model = networks_detr.ultralytics()
    graph = GraphBuilder(model, "turned/")
    columns = graph.op("Transpose", model.graph.output[0].name, perm=[0, 2, 1])
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(columns, TensorProto.FLOAT, [1, 7, networks_detr.QUERIES])
    )

    adapted = by_hand.understood(tmp_path, with_best_label(model, turned=True))

    assert adapted.family.name == "rt-detr-ultralytics"


def test_it_is_cut_from_a_graph_that_its_exporter_simplified(tmp_path):
    model = with_nms(networks.ultralytics(corners=True), turned=True, iou=0.7)

    adapted = by_hand.understood(tmp_path, by_hand.simplified(model))

    assert (adapted.family.name, adapted.iou) == ("ultralytics", 0.7)


def test_it_is_said_what_was_cut_and_its_overlap_is_kept(tmp_path):
    lines = by_hand.understood(tmp_path, with_nms(networks_yolo.yolov5(), iou=0.55)).explain()

    assert "changed   its NonMaxSuppression was cut off behind 'output'" in lines
    assert any("above IoU 0.55, per label: as the NMS had it" in line for line in lines)


def test_another_overlap_may_be_asked_for(tmp_path):
    adapted = by_hand.understood(tmp_path, with_nms(networks_yolo.yolov5()), iou=0.3)

    assert adapted.iou == 0.3


@pytest.mark.parametrize(
    ("plugin", "apart", "across"),
    [
        (False, None, False),
        (False, 10.0, False),
        (False, 0.0, True),
        (True, None, False),
        (True, 10.0, False),
        (True, 0.0, True),
    ],
)
def test_boxes_of_other_labels_are_suppressed_where_it_did_that(tmp_path, plugin, apart, across):
    model = with_nms(networks_yolo.yolov5(), iou=0.1, plugin=plugin, apart=apart)
    pixels = by_hand.frame((64, 64))
    adapted = by_hand.understood(tmp_path, model)
    plain = by_hand.understood(tmp_path, networks_yolo.yolov5(), iou=0.1)
    boxes, _, labels = by_hand.detected(plain, pixels)
    rivals = np.triu(by_hand.overlaps(boxes) > 0.1, 1)

    found = by_hand.detected(adapted, pixels)
    remaining = by_hand.overlaps(found[0])[np.triu_indices(len(found[0]), 1)]

    assert len(set(labels)) > 1
    assert rivals.any()
    assert adapted.across_labels == across
    assert (remaining > 0.1).any() != across
    assert ("whatever the labels" in adapted.suppression()) == across


def test_one_label_has_no_other_to_suppress(tmp_path):
    model = with_nms(networks_yolo.yolov5(labels=1), apart=0.0)

    assert not by_hand.understood(tmp_path, model).across_labels


def test_the_overlap_of_the_older_plugin_is_kept(tmp_path):
    model = with_nms(networks_yolo.yolov5(), plugin=True)
    (node,) = (node for node in model.graph.node if node.op_type == "EfficientNMS_TRT")
    node.op_type, node.attribute[0].name = "BatchedNMS_TRT", "iouThreshold"

    assert by_hand.understood(tmp_path, model).iou == 0.6


def test_an_overlap_inside_a_branch_is_read():
    limit = numpy_helper.from_array(np.float32([0.55]))
    graph = helper.make_graph(
        [
            helper.make_node("Constant", [], ["iou"], value=limit),
            helper.make_node("NonMaxSuppression", ["b", "s", "most", "iou"], ["kept"]),
        ],
        "some",
        [],
        [helper.make_tensor_value_info("kept", TensorProto.INT64, None)],
    )
    model = helper.make_model(helper.make_graph([], "net", [], []))
    branches = {"then_branch": graph, "else_branch": helper.make_graph([], "none", [], [])}
    model.graph.node.append(helper.make_node("If", ["any"], ["kept"], **branches))

    assert overlap(model) == 0.55


def test_predictions_no_family_knows_are_refused_with_the_way_to_export_them(tmp_path):
    model = networks_detr.ultralytics(samples=False)

    with pytest.raises(ModelError, match=r"NonMaxSuppression.*; export it again without NMS"):
        by_hand.understood(tmp_path, with_nms(model))


def test_a_plugins_predictions_no_family_knows_are_refused_too(tmp_path):
    model = networks_detr.ultralytics(samples=False)

    with pytest.raises(ModelError, match=r"EfficientNMS_TRT.*; export it again without NMS"):
        by_hand.understood(tmp_path, with_nms(model, plugin=True))


def test_boxes_brought_to_another_scale_for_it_are_taken_before_that(tmp_path):
    adapted = by_hand.understood(tmp_path, with_nms(networks_yolo.yolov5(normalised=True)))

    pixels = by_hand.frame((64, 64))
    wanted = by_hand.understood(tmp_path, networks_yolo.yolov5(), iou=0.6)
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(wanted, pixels))


def test_a_model_without_nms_is_not_cut():
    assert list(cuts(networks_yolo.yolov5())) == []


def test_two_of_them_are_no_yolos_so_nothing_is_cut():
    model = with_nms(networks_yolo.yolov5())
    GraphBuilder(model, "more/").op("NonMaxSuppression", "x", "y")

    assert list(cuts(model)) == []


def test_only_what_all_ways_pass_is_tried():
    model = with_nms(networks_yolo.yolov5())

    assert [cut.tensors for cut in cuts(model)] == [
        ("output",),
        ("nms/Slice_0", "nms/Mul_0"),
        ("nms/Slice_0", "nms/Transpose_0"),
    ]


@pytest.mark.parametrize("opened", [False, True], ids=["fixed", "open"])
def test_one_for_each_frame_of_a_batch_is_cut_off_and_the_batch_is_freed(tmp_path, opened):
    model = with_nms_for_each(networks.ultralytics(corners=True, batch=3), iou=0.55)
    if opened:
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "batch"
    adapted = by_hand.understood(tmp_path, model)
    wanted = by_hand.understood(tmp_path, networks.ultralytics(corners=True), iou=0.55)
    frames = np.stack([by_hand.frame((64, 64), seed) for seed in (1, 2)])

    found, expected = (
        by_hand.session(x.graph).run(None, {"frames": frames}) for x in (adapted, wanted)
    )

    assert (adapted.family.name, adapted.iou, adapted.network.batched) == (
        "ultralytics",
        0.55,
        True,
    )
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_boxes_of_other_labels_are_suppressed_where_all_of_them_did_that(tmp_path):
    model = with_nms_for_each(networks.ultralytics(corners=True, batch=3), apart=0.0)

    assert by_hand.understood(tmp_path, model).across_labels


def test_frames_that_are_suppressed_above_different_overlaps_have_none_in_common():
    model = with_nms_for_each(networks.ultralytics(corners=True, batch=2), iou=0.55)
    first = next(node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    first.input[3] = GraphBuilder(model, "other/").constant([0.7])

    assert overlap(model) is None


def test_an_open_size_is_asked_for_before_anything_is_said_of_the_plugin(tmp_path):
    model = with_nms(networks_yolo.yolov5(), plugin=True)
    for dimension in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dimension.dim_param = "side"

    with pytest.raises(ModelError, match="give --size"):
        by_hand.understood(tmp_path, model)


def test_a_best_label_of_what_no_family_knows_is_refused_with_the_way_to_export_it(tmp_path):
    model = with_best_label(networks_detr.ultralytics(samples=False), apart=True, turned=True)

    with pytest.raises(ModelError, match=r"keeps each box's best label only.*; export it by its"):
        by_hand.understood(tmp_path, model)
