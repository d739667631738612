"""torchvision's detection outputs: adapted where what is in front of them has a fixed shape."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engines.errors import ModelError
from engines.graph import GraphBuilder
from tests import by_hand
from tests.networks_torchvision import dense, torchvision

SIZE = (64, 64)


def expected(model, pixels):
    """Suppress by hand what the export suppresses, each box under its best label."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    nms = next(node for node in probe.graph.node if node.op_type == "NonMaxSuppression")
    for name in nms.input[:2]:
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    fed = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    found = by_hand.session(probe).run(list(nms.input[:2]), {"images": fed})
    corners, shown = found[0][0], found[1][0].T
    best, labels = shown.max(1), shown.argmax(1)
    kept = by_hand.suppressed(corners, best, labels, 0.45)
    return corners[kept], best[kept], labels[kept]


def test_it_detects_what_is_in_front_of_the_threshold(tmp_path):
    model, pixels = torchvision(), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "torchvision-ssd"
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_its_overlap_is_that_of_its_own_nms(tmp_path):
    adapted = by_hand.understood(tmp_path, torchvision(iou=0.55))

    assert adapted.iou == 0.55


def test_nothing_of_open_shape_is_left(tmp_path):
    adapted = by_hand.understood(tmp_path, torchvision())

    assert "NonMaxSuppression" not in {node.op_type for node in adapted.graph.graph.node}


def test_the_background_is_no_label(tmp_path):
    assert len(by_hand.understood(tmp_path, torchvision(labels=3)).labels) == 3


def test_a_two_stage_detector_is_refused_with_the_way_out(tmp_path):
    with pytest.raises(ModelError, match=r"two-stage detector.*state_dict"):
        by_hand.understood(tmp_path, torchvision(two_stages=True))


def test_boxes_decoded_behind_the_threshold_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"in front of its threshold.*no SSD"):
        by_hand.understood(tmp_path, torchvision(decoded_late=True))


def resizing(model, size_wh):
    """Let a network take frames of another size, resize them, and scale its boxes back."""
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            node.input[place] = "resized" if name == "images" else name
    graph = GraphBuilder(model, "fit/")
    sides = graph.constant([1, 3, SIZE[1], SIZE[0]], np.int64)
    model.graph.node.append(onnx.helper.make_node("Resize", ["images", "", "", sides], ["resized"]))
    model.graph.node.insert(0, model.graph.node.pop())
    for dimension, side in zip(
        model.graph.input[0].type.tensor_type.shape.dim[2:], size_wh[::-1], strict=True
    ):
        dimension.dim_value = side
    back = np.tile(np.divide(size_wh, SIZE), 2)
    made = graph.op("Mul", "boxes", graph.constant(back))
    graph.publish(made, "boxes")
    return model


@pytest.mark.parametrize("export", [torchvision, dense], ids=["SSD", "RetinaNet"])
def test_boxes_of_an_image_that_the_graph_resizes_are_brought_back(tmp_path, export):
    model, pixels = resizing(export(labels=1), (96, 48)), by_hand.frame((96, 48))
    adapted = by_hand.understood(tmp_path, model)

    fed = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    boxes, scores, _ = by_hand.session(model).run(["boxes", "scores", "labels"], {"images": fed})
    found, heard, _ = by_hand.detected(adapted, pixels)

    assert adapted.input.width == 96
    assert len(boxes) > 3
    for box, score in zip(boxes, scores, strict=True):
        apart = np.abs(found - box).max(1) + np.abs(heard - score)
        assert apart.min() < 0.01


# --- RetinaNet and FCOS: boxes are decoded behind the threshold


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize(
    ("centred", "family", "iou"),
    [(False, "torchvision-retinanet", 0.5), (True, "torchvision-fcos", 0.6)],
)
def test_a_dense_detector_is_recognised_by_what_it_gives(tmp_path, named, centred, family, iou):
    adapted = by_hand.understood(tmp_path, dense(centred=centred, named=named))

    assert (adapted.family.name, adapted.recognised.label_count) == (family, 3)
    assert adapted.iou == 0.5
    assert adapted.family.iou == iou
    assert "NonMaxSuppression" not in {node.op_type for node in adapted.graph.graph.node}


@pytest.mark.parametrize("centred", [False, True])
def test_a_dense_detector_of_one_label_detects_what_its_export_does(tmp_path, centred):
    model, pixels = dense(labels=1, centred=centred), by_hand.frame(SIZE)
    adapted = by_hand.understood(tmp_path, model)

    fed = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    boxes, scores, labels = by_hand.session(model).run(None, {"images": fed})
    order = np.argsort(-scores, kind="stable")
    found = by_hand.detected(adapted, pixels)
    heard = found[1] > 0.05

    by_hand.assert_same([part[heard] for part in found], boxes[order], scores[order], labels[order])


def test_a_dense_detector_that_gives_nothing_on_noise_is_recognised_too(tmp_path):
    adapted = by_hand.understood(tmp_path, dense(threshold=0.99))

    assert adapted.family.name == "torchvision-retinanet"


def test_an_ssd_that_gives_nothing_on_noise_is_recognised_too(tmp_path):
    model = torchvision()
    graph = GraphBuilder(model, "late/")
    (kept,) = (node for node in model.graph.node if node.output[0] == "scores")
    kept.output[0] = "all"
    over = graph.op("Greater", "all", graph.constant(0.999))
    place = graph.squeeze(graph.op("NonZero", over), 0)
    model.graph.node.append(onnx.helper.make_node("Gather", ["all", place], ["scores"]))
    for name in ("boxes", "labels"):
        (node,) = (node for node in model.graph.node if node.output[0] == name)
        node.output[0] = f"all {name}"
        model.graph.node.append(onnx.helper.make_node("Gather", [f"all {name}", place], [name]))

    assert by_hand.understood(tmp_path, model).family.name == "torchvision-ssd"


def test_boxes_decoded_in_another_way_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not torchvision-retinanet: what it gives on noise"):
        by_hand.understood(tmp_path, dense(growth=1.5))
