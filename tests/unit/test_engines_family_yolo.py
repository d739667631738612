"""YOLO's exports, year by year, become contract graphs that detect what a decode by hand does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelError
from engines.families import registry
from engines.graph import GraphBuilder
from engines.native import NATIVE
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from tests import by_hand, networks, networks_yolo

SIZE = (64, 64)


def run(model, pixels, *, bgr=False, scale=255):
    """Run the exported model as its own scripts feed it; outputs of the one frame."""
    fed = pixels if bgr else pixels[:, :, ::-1]
    planes = (fed.astype(np.float32) / scale).transpose(2, 0, 1)[None]
    return [output[0] for output in by_hand.session(model).run(None, {"images": planes})]


def whole(folder, model):
    """Recognise a model as it is: nothing is cut off its end."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    return registry.recognise(prepare(load_source(path), None))


def corners(boxes):
    centre, half = boxes[:, :2], boxes[:, 2:4] / 2
    return np.hstack([centre - half, centre + half])


def yolov5(model, pixels):
    rows = run(model, pixels)[0]
    return corners(rows), rows[:, 4:5] * rows[:, 5:]


def yolov6(model, pixels):
    rows = run(model, pixels)[0]
    return corners(rows), rows[:, 5:]


def yolov6_maps(model, pixels):
    boxes, scores = [], []
    for stride, values in zip((8, 16, 32), run(model, pixels), strict=True):
        for y in range(values.shape[1]):
            for x in range(values.shape[2]):
                left, top, right, bottom = values[-4:, y, x] * stride
                x_middle, y_middle = (x + 0.5) * stride, (y + 0.5) * stride
                boxes.append([x_middle - left, y_middle - top, x_middle + right, y_middle + bottom])
                scores.append(values[:-4, y, x])
    return np.float32(boxes), np.float32(scores)


def yolox(model, pixels):
    rows = run(model, pixels, bgr=True, scale=1)[0]
    return corners(rows), rows[:, 4:5] * rows[:, 5:]


def yolov4(model, pixels):
    boxes, scores = run(model, pixels)
    height, width = pixels.shape[:2]
    return boxes[:, 0] * [width, height, width, height], scores


HEADS = {
    "yolov4-decoded": (networks_yolo.yolov4_decoded, yolov4),
    "yolov5": (networks_yolo.yolov5, yolov5),
    "yolov6": (networks_yolo.yolov6, yolov6),
    "yolov6 as maps": (lambda **k: networks_yolo.yolov6(maps=True, **k), yolov6_maps),
    "yolox decoded": (networks_yolo.yolox_decoded, yolox),
}


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("batch", [1, 16])
@pytest.mark.parametrize("size", [(64, 64), (96, 64)], ids=["square", "wide"])
def test_it_detects_what_a_decode_by_hand_detects(tmp_path, head, batch, size):
    export, decode = HEADS[head]
    adapted = by_hand.understood(tmp_path, export(batch=batch, size=size))
    pixels = by_hand.frame(size)

    boxes, scores = decode(export(size=size), pixels)
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, adapted.family.iou)

    assert adapted.network.batched
    assert adapted.family.name == head.split()[0]
    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, boxes[kept], best[kept], labels[kept])


def test_end_to_end_gives_its_own_rows_and_no_nms_is_added(tmp_path):
    model = networks_yolo.end_to_end()
    adapted = by_hand.understood(tmp_path, model)
    pixels = by_hand.frame(SIZE)

    rows = run(model, pixels)[0]

    assert (adapted.family.name, adapted.iou) == ("end-to-end", None)
    assert adapted.recognised.label_count == 3
    by_hand.assert_same(
        by_hand.detected(adapted, pixels), rows[:, :4], rows[:, 4], rows[:, 5].astype(int)
    )


@pytest.mark.parametrize(
    "model",
    [
        *(export() for export, _ in HEADS.values()),
        networks_yolo.end_to_end(),
    ],
    ids=[*HEADS, "end-to-end"],
)
def test_it_holds_only_operators_that_every_runtime_has(tmp_path, model):
    adapted = by_hand.understood(tmp_path, model)

    assert {node.op_type for node in adapted.graph.graph.node} <= NATIVE


def test_raw_heads_beside_the_decoded_rows_change_nothing(tmp_path):
    plain, more = (networks_yolo.yolov5(raw=raw) for raw in (False, True))
    pixels = by_hand.frame(SIZE)

    wanted = by_hand.detected(by_hand.understood(tmp_path, plain), pixels)

    by_hand.assert_same(by_hand.detected(by_hand.understood(tmp_path, more), pixels), *wanted)


def test_an_output_that_is_no_head_of_yolov5_is_not_passed_over_without_a_word(tmp_path):
    model = networks_yolo.yolov5(raw=True)
    masks = GraphBuilder(model, "more/").slice("head8", 4, 0, 3)
    model.graph.output.append(helper.make_tensor_value_info(masks, TensorProto.FLOAT, None))

    (said,) = by_hand.understood(tmp_path, model).network.source.changed

    assert "'more/Slice_0' were left out" in said


def test_with_one_label_yolov5s_objectness_is_the_score(tmp_path):
    model = networks_yolo.yolov5(labels=1)
    pixels = by_hand.frame(SIZE)
    adapted = by_hand.understood(tmp_path, model)

    rows = run(model, pixels)[0]
    kept = by_hand.suppressed(corners(rows), rows[:, 4], np.zeros(len(rows)), 0.45)

    found = by_hand.detected(adapted, pixels)
    by_hand.assert_same(found, corners(rows)[kept], rows[kept, 4], np.zeros(len(kept)))
    assert "the objectness is the score" in adapted.recognised.evidence[-1]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (networks_yolo.yolov5(normalised=True), "centres, in pixels, do not lie at their cells"),
        (networks_yolo.end_to_end(numbers=False), "its sixth column is not labels' numbers"),
    ],
)
def test_values_that_deny_what_the_shape_suggests_are_believed(tmp_path, model, says):
    with pytest.raises(ModelError, match=says):
        whole(tmp_path, model)


def test_products_of_objectness_and_labels_are_no_rows_of_yolov5(tmp_path):
    model = networks_yolo.yolov5()
    graph = GraphBuilder(model, "more/")
    boxes, heard, named = (graph.slice("output", 2, *part) for part in ((0, 4), (4, 5), (5, 8)))
    graph.publish(graph.op("Concat", boxes, graph.op("Mul", named, heard), axis=2), "joined")
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("joined", TensorProto.FLOAT, [1, 252, 7])
    )

    with pytest.raises(ModelError, match="what follows its boxes are products"):
        whole(tmp_path, model)


def test_rows_of_yolov3_come_largest_stride_first(tmp_path):
    model = networks_yolo.yolov5(size=(160, 160))
    levels = np.split(np.arange(1575), [1200, 1500])
    order = np.concatenate(levels[::-1])
    graph = GraphBuilder(model, "more/")
    graph.publish(graph.op("Gather", "output", graph.constant(order, np.int64), axis=1), "rows")
    model.graph.output[0].name = "rows"

    adapted = by_hand.understood(tmp_path, model)
    plain = by_hand.understood(tmp_path, networks_yolo.yolov5(size=(160, 160)))
    pixels = by_hand.frame((160, 160))

    assert adapted.family.name == "yolov5"
    assert decodes_late(adapted)
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(plain, pixels))


def decodes_late(adapted):
    """Return whether no sigmoid of the export is left: ours read one number or the chosen rows."""
    nodes = [node for node in adapted.graph.graph.node if node.op_type == "Sigmoid"]
    return bool(nodes) and all(node.output[0].startswith("edge/") for node in nodes)


@pytest.mark.parametrize("asked", [{}, {"raw": True}, {"labels": 1}, {"size": (96, 64)}], ids=str)
def test_of_yolov5_only_the_best_are_decoded(tmp_path, asked):
    assert decodes_late(by_hand.understood(tmp_path, networks_yolo.yolov5(**asked)))


def test_what_is_not_decoded_as_yolov5_does_is_left_to_the_export(tmp_path):
    model = networks_yolo.yolov5()
    nodes = {node.output[0]: node for node in model.graph.node}
    spread = next(n for n in nodes.values() if n.op_type == "Mul" and "Split" in n.input[0])
    for tensor in model.graph.initializer:
        if tensor.name == spread.input[1]:
            tensor.CopyFrom(numpy_helper.from_array(np.float32(1.8), tensor.name))
    adapted = by_hand.understood(tmp_path, model)
    pixels = by_hand.frame(SIZE)

    boxes, scores = yolov5(model, pixels)
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, 0.45)

    assert not decodes_late(adapted)
    by_hand.assert_same(by_hand.detected(adapted, pixels), boxes[kept], best[kept], labels[kept])


def test_yolox_without_its_stem_could_be_yolov6_so_it_asks(tmp_path):
    model = networks_yolo.yolox_decoded(focus=False)

    with pytest.raises(ModelError, match="say which it is: --family yolox or --family yolov6"):
        by_hand.understood(tmp_path, model)


def test_what_is_answered_decides_how_it_is_fed(tmp_path):
    model = networks_yolo.yolox_decoded(focus=False)

    fed = {
        name: by_hand.understood(tmp_path, model, family=name).family.preprocessing.colours
        for name in ("yolox", "yolov6")
    }

    assert fed == {"yolox": "BGR", "yolov6": "RGB"}


def test_yolov6_that_prepares_the_image_is_fed_pixels(tmp_path):
    adapted = by_hand.understood(tmp_path, networks_yolo.yolov6(prepares=True))
    plain = by_hand.understood(tmp_path, networks_yolo.yolov6())
    pixels = by_hand.frame(SIZE)

    fed = adapted.family.preprocessing
    assert (fed.colours, fed.scale, fed.letterbox) == ("BGR", 1, "centered")
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(plain, pixels))


def test_release_01_of_yolov6_multiplies_by_its_objectness(tmp_path):
    model = networks_yolo.yolov6(objectness=True)
    pixels = by_hand.frame(SIZE)
    adapted = by_hand.understood(tmp_path, model, family="yolov6")

    boxes, scores = yolov5(model, pixels)
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, 0.45)

    by_hand.assert_same(by_hand.detected(adapted, pixels), boxes[kept], best[kept], labels[kept])


def test_the_number_of_labels_is_read_from_the_top_k(tmp_path):
    adapted = by_hand.understood(tmp_path, networks_yolo.end_to_end(labels=7))

    assert adapted.recognised.label_count == 7


def turned(*, stated):
    """Return an end-to-end export whose boxes on noise run from right to left."""
    model = networks_yolo.end_to_end()
    graph = GraphBuilder(model, "turned/")
    columns = graph.constant([2, 3, 0, 1, 4, 5], np.int64)
    graph.publish(graph.op("Gather", model.graph.output[0].name, columns, axis=2), "turned")
    model.graph.output[0].name = "turned"
    helper.set_model_props(model, {"end2end": str(stated)})
    return model


def test_rows_that_are_no_corners_are_refused(tmp_path):
    with pytest.raises(ModelError, match="its boxes are not corners, xyxy"):
        whole(tmp_path, turned(stated=False))


def test_an_exporter_that_states_them_is_believed_whatever_it_gives_on_noise(tmp_path):
    assert by_hand.understood(tmp_path, turned(stated=True)).family.name == "end-to-end"


def test_two_branches_of_yolov9_stop_and_the_last_is_taken_if_asked_for(tmp_path):
    model = networks_yolo.yolov9_dual()
    pixels = by_hand.frame(SIZE)

    with pytest.raises(ModelError, match=r"2 such outputs.*--family ultralytics"):
        by_hand.understood(tmp_path, model)

    found = by_hand.detected(by_hand.understood(tmp_path, model, family="ultralytics"), pixels)
    alone = by_hand.understood(tmp_path, networks.ultralytics())
    by_hand.assert_same(found, *by_hand.detected(alone, pixels))
