"""YOLO-NAS, DAMO-YOLO, PP-YOLOE, PicoDet and MMDetection: corners in pixels beside scores."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import GraphBuilder
from tests import by_hand
from tests.networks_boxes import damo_yolo, rtmdet, with_nms_on_pair, yolo_nas
from tests.networks_paddle import picodet, pp_yoloe, yolov3, yolox

SIZE = (96, 64)
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MMDETECTION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FAMILIES = {
    # name: (graph, its family, scale, mean and deviation, RGB, IoU)
    "YOLO-NAS": (yolo_nas, "yolo-nas", 1 / 255, None, True, 0.7),
    "DAMO-YOLO": (damo_yolo, "damo-yolo", 1, None, True, 0.7),
    "PP-YOLOE": (pp_yoloe, "pp-yoloe", 1 / 255, IMAGENET, True, 0.7),
    "PP-YOLOE+": (pp_yoloe, "pp-yoloe-plus", 1 / 255, None, True, 0.7),
    "PicoDet": (picodet, "picodet", 1 / 255, IMAGENET, True, 0.6),
    "PicoDet without NMS": (
        lambda **size: picodet(scaled=False, **size),
        "picodet", 1 / 255, IMAGENET, True, 0.6,
    ),
    "Paddle's YOLOv3": (yolov3, "yolov3-paddle", 1 / 255, IMAGENET, True, 0.45),
    "Paddle's YOLOX": (yolox, "yolox-paddle", 1, None, True, 0.65),
    "RTMDet": (rtmdet, "rtmdet", 1, tuple(x[::-1] for x in MMDETECTION), False, 0.65),
    "SSD of MMDetection": (
        lambda **size: rtmdet(softmax=True, nested=True, **size),
        "mmdetection-ssd", 1, (MMDETECTION[0], 1), True, 0.45,
    ),
    "YOLOX of MMDetection": (
        lambda **size: rtmdet(products=True, **size), "mmdetection-yolox", 1, None, False, 0.65,
    ),
    "MMYOLO": (rtmdet, "mmyolo", 1 / 255, None, True, 0.65),
    "GFL": (lambda **size: rtmdet(bins=8, **size), "mmdetection", 1, MMDETECTION, True, 0.6),
}  # fmt: skip


def fed_with(pixels, scale, normal, rgb):
    found = (pixels[..., ::-1] if rgb else pixels) * scale
    if normal is not None:
        found = (found - normal[0]) / normal[1]
    return found.astype(np.float32).transpose(2, 0, 1)[None]


def raw(model, image):
    """Run the export as it is; boxes (N, 4) and scores (N, labels)."""
    told = {"scale_factor": np.ones((1, 2)), "im_shape": np.array([SIZE[::-1]])}
    inputs = {
        value.name: told[value.name].astype(np.float32) if value.name in told else image
        for value in model.graph.input
    }
    found = [value[0] for value in by_hand.session(model).run(None, inputs)]
    scores, boxes = sorted(found, key=lambda x: x.shape[-1] == 4)
    boxes = boxes.reshape(-1, 4)
    return boxes, scores if len(scores) == len(boxes) else scores.T


def expected(boxes, scores, iou):
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, iou)
    return boxes[kept], best[kept], labels[kept]


@pytest.mark.parametrize("name", FAMILIES)
def test_it_detects_what_the_export_gives_and_nms_leaves(tmp_path, name):
    export, family, scale, normal, rgb, iou = FAMILIES[name]
    size = (128, 64) if family == "picodet" else SIZE
    model, pixels = export(size=size), by_hand.frame(size)
    wanted = expected(*raw(model, fed_with(pixels, scale, normal, rgb)), iou)

    adapted = by_hand.understood(tmp_path, model, family=family)

    assert len(adapted.labels) == 3
    assert adapted.network.batched
    by_hand.assert_same(by_hand.detected(adapted, pixels), *wanted)


@pytest.mark.parametrize(
    ("export", "family", "letterbox", "pad"),
    [
        (yolo_nas, "yolo-nas", "centered", 114),
        (damo_yolo, "damo-yolo", "stretch", 0),
        (pp_yoloe, "pp-yoloe", "stretch", 114),
        (picodet, "picodet", "stretch", 114),
        (yolov3, "yolov3-paddle", "stretch", 114),
        (yolox, "yolox-paddle", "top-left", 114),
        (rtmdet, "rtmdet", "top-left", 114),
        (rtmdet, "mmyolo", "centered", 114),
        (lambda: rtmdet(softmax=True), "mmdetection-ssd", "stretch", 114),
        (lambda: rtmdet(products=True), "mmdetection-yolox", "top-left", 114),
    ],
)
def test_frames_are_brought_to_its_size_as_its_own_scripts_do(
    tmp_path, export, family, letterbox, pad
):
    spec = by_hand.understood(tmp_path, export(), family=family).input

    assert (spec.letterbox, spec.pad) == (letterbox, pad)


def test_bytes_are_normalised_by_the_graph_alone(tmp_path):
    pixels = by_hand.frame(SIZE)
    model = yolo_nas(size=SIZE, takes_bytes=True)
    image = pixels[..., ::-1].transpose(2, 0, 1)[None]

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "yolo-nas-uint8"
    wanted = expected(*raw(model, image), 0.7)
    by_hand.assert_same(by_hand.detected(adapted, pixels), *wanted)


def test_boxes_and_scores_may_be_one_tensor(tmp_path):
    joined = by_hand.understood(tmp_path, pp_yoloe(joined=True), family="pp-yoloe")
    apart = by_hand.understood(tmp_path, pp_yoloe(), family="pp-yoloe")
    pixels = by_hand.frame((64, 64))

    by_hand.assert_same(by_hand.detected(joined, pixels), *by_hand.detected(apart, pixels))


@pytest.mark.parametrize("labels", [3, 4])
def test_boxes_of_anchors_may_be_nested(tmp_path, labels):
    pixels = by_hand.frame((64, 64))
    nested, plain = (
        by_hand.understood(tmp_path, rtmdet(labels=labels, nested=kind), family="mmdetection")
        for kind in (True, False)
    )

    by_hand.assert_same(by_hand.detected(nested, pixels), *by_hand.detected(plain, pixels))


NMS = {
    "super-gradients": (yolo_nas, "yolo-nas", {"best": 40}),
    "super-gradients for TensorRT": (yolo_nas, "yolo-nas", {"plugin": "EfficientNMS_TRT"}),
    "Paddle2ONNX": (pp_yoloe, "pp-yoloe-plus", {}),
    "MMDeploy": (rtmdet, "rtmdet", {"threshold": 0.05}),
    "MMDeploy, the best": (rtmdet, "rtmdet", {"best": 40, "threshold": 0.05}),
    "MMDeploy for TensorRT": (rtmdet, "rtmdet", {"plugin": "TRTBatchedNMS"}),
}


@pytest.mark.parametrize("name", NMS)
def test_an_nms_behind_them_is_cut_off(tmp_path, name):
    export, family, how = NMS[name]
    pixels = by_hand.frame((64, 64))

    adapted = by_hand.understood(tmp_path, with_nms_on_pair(export(), **how), family=family)

    wanted = by_hand.understood(tmp_path, export(), family=family, iou=0.6)
    assert adapted.iou == 0.6
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(wanted, pixels))


PADDLE = {"picodet": picodet, "yolov3-paddle": yolov3, "yolox-paddle": yolox}


@pytest.mark.parametrize("name", PADDLE)
def test_paddles_are_known_without_being_named(tmp_path, name):
    adapted = by_hand.understood(tmp_path, with_nms_on_pair(PADDLE[name](), iou=0.35))

    assert (adapted.family.name, adapted.iou) == (name, 0.35)


def with_key_points(model):
    """Let something beside boxes and scores come out, as YOLO-NAS Pose."""
    graph = GraphBuilder(model, "pose/")
    feature = next(node.output[0] for node in model.graph.node if node.op_type == "Relu")
    made = graph.op("ReduceMean", feature, axes=[2, 3])
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    return model


def with_boxes_moved_apart(model):
    """Let the NMS see other boxes than come out."""
    (nms,) = (node for node in model.graph.node if node.op_type == "NonMaxSuppression")
    graph = GraphBuilder(model, "moved/")
    made = graph.op("Add", nms.input[0], graph.constant(10.0))
    nms.input[0] = made
    nodes = [*model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:-5], nodes[-1], *nodes[-5:-1]])
    return model


@pytest.mark.parametrize("change", [with_key_points, with_boxes_moved_apart])
def test_an_nms_that_other_things_bypass_is_not_cut_off(tmp_path, change):
    with pytest.raises(ModelError, match="export it again without NMS"):
        by_hand.understood(tmp_path, change(with_nms_on_pair(yolo_nas())))


@pytest.mark.parametrize(("export", "family"), [(yolo_nas, "yolo-nas"), (rtmdet, "rtmdet")])
def test_a_fixed_batch_is_freed_in_front_of_the_choice_of_the_best(tmp_path, export, family):
    model = with_nms_on_pair(export(batch=3), best=40)

    assert by_hand.understood(tmp_path, model, family=family).network.batched


@pytest.mark.parametrize(
    ("model", "choices"),
    [
        (pp_yoloe(), ["pp-yoloe", "pp-yoloe-plus"]),
        (with_nms_on_pair(pp_yoloe()), ["pp-yoloe", "pp-yoloe-plus"]),
        (rtmdet(), ["rtmdet", "mmdetection", "mmyolo"]),
        (with_nms_on_pair(rtmdet(), threshold=0.05), ["rtmdet", "mmdetection", "mmyolo"]),
        (with_nms_on_pair(rtmdet(labels=4), best=40), ["rtmdet", "mmdetection", "mmyolo"]),
        (rtmdet(bins=8), ["damo-yolo", "mmdetection", "mmyolo"]),
        (yolo_nas(strides=(32, 16, 8)), ["yolo-nas"]),
        (damo_yolo(prepared=True), ["damo-yolo", "mmdetection", "mmyolo"]),
    ],
    ids=[
        "PP-YOLOE",
        "PP-YOLOE, NMS",
        "RTMDet",
        "RTMDet, NMS",
        "four labels, NMS",
        "GFL",
        "other strides first",
        "prepared image",
    ],
)
def test_where_the_graph_does_not_say_how_it_was_fed_the_user_has_to(tmp_path, model, choices):
    with pytest.raises(ModelError) as error:
        by_hand.understood(tmp_path, model)

    asked = str(error.value).split("say which it is: --family ")[1]
    assert asked.split(" or --family ") == choices


def test_cells_that_are_repeated_for_each_frame_of_a_batch_are_needed_once(tmp_path):
    adapted = by_hand.understood(tmp_path, damo_yolo(batch=3))
    alone = by_hand.understood(tmp_path, damo_yolo())
    pixels = by_hand.frame((64, 64))

    assert adapted.network.batched
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(alone, pixels))


def changed(model, change):
    """Let `change(graph, boxes, scores)` make other boxes and scores."""
    graph = GraphBuilder(model, "after/")
    made = change(graph, *(value.name for value in model.graph.output))
    for value, name in zip(model.graph.output, made, strict=True):
        value.name = name
        del value.type.tensor_type.shape.dim[:]
    return model


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda g, b, s: (g.op("Div", b, g.constant(64.0)), s), "holds no corners in pixels"),
        (
            lambda g, b, s: (g.op("Neg", b), s),
            "holds no corners in pixels: on noise 0% are ordered",
        ),
        (lambda g, b, s: (b, g.op("Exp", s)), "goes beyond 0..1"),
        (lambda g, b, s: (b, g.op("Relu", g.slice(b, 2, 0, 3))), "come out of Conv, not out"),
        (lambda g, b, s: (b, g.unsqueeze(g.reduce_max(s, 2), 2)), "come out of ReduceMax"),
        (lambda g, b, s: (g.slice(b, 2, 0, 3), s), r"expected boxes \(1, N, 4\) and scores"),
    ],
    ids=["0..1", "turned", "beyond", "no sigmoid", "the best label's", "three columns"],
)
def test_what_holds_something_else_is_refused_with_the_reason(tmp_path, change, says):
    with pytest.raises(ModelError, match=says):
        by_hand.understood(tmp_path, changed(yolo_nas(), change), family="yolo-nas")


@pytest.mark.parametrize(
    ("model", "family", "says"),
    [
        (yolo_nas(takes_bytes=True), "yolo-nas", "its image is uint8"),
        (yolo_nas(), "yolo-nas-uint8", "its image is float"),
        (yolo_nas(), "pp-yoloe", r"expected scores \(1, 3, 84\)"),
        (yolox(), "pp-yoloe-plus", "not made of distributions"),
        (yolov3(), "pp-yoloe", "not made of distributions"),
        (picodet(), "pp-yoloe", "those of PicoDet's strides"),
        (pp_yoloe(), "picodet", "not those of PicoDet's strides"),
        (yolox(), "yolov3-paddle", "expected 3 candidates in each cell"),
        (yolov3(), "yolox-paddle", "expected 1 candidates in each cell"),
        (pp_yoloe(), "yolox-paddle", "are made of distributions"),
        (pp_yoloe(joined=True), "yolov3-paddle", "does not ask for scale_factor"),
        (yolo_nas(), "damo-yolo", "no matrix product"),
        (yolo_nas(), "mmdetection", "a convolution makes"),
        (damo_yolo(), "yolo-nas", "no convolution"),
        (rtmdet(bins=8), "rtmdet", "are made of distributions"),
        (pp_yoloe(), "yolo-nas", r"expected scores \(1, 84, 3\)"),
        (pp_yoloe(), "rtmdet", r"expected scores \(1, 84, 3\)"),
    ],
)
def test_another_of_them_is_refused_though_asked_for(tmp_path, model, family, says):
    with pytest.raises(ModelError, match=f"not {family}: .*{says}"):
        by_hand.understood(tmp_path, model, family=family)
