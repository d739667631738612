"""What exports do to their predictions at their end is undone: split, turned, scaled."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import GraphBuilder
from tests import by_hand, networks, networks_yolo

SIZE = (160, 160)


def boxes_and_scores(graph, output):
    return graph.slice(output, 1, 0, 4), graph.slice(output, 1, 4, 7)


def turned_shares(graph, output):
    rows = graph.op("Transpose", output, perm=[0, 2, 1])
    boxes = graph.op("Div", graph.slice(rows, 2, 0, 4), graph.constant(160.0))
    return (graph.op("Concat", boxes, graph.slice(rows, 2, 4, 7), axis=2),)


def vertical_first(graph, output):
    boxes, scores = boxes_and_scores(graph, output)
    order = graph.constant([1, 0, 3, 2], np.int64)
    return graph.op("Gather", boxes, order, axis=1), scores


def one_more_axis(graph, output):
    return (graph.unsqueeze(output, 1),)


def no_batch(graph, output):
    return (graph.squeeze(output, 0),)


def columns(graph, output):
    return (graph.op("Transpose", output, perm=[0, 2, 1]),)


def objectness_apart(graph, output):
    return tuple(graph.slice(output, 2, *part) for part in ((0, 4), (4, 5), (5, 8)))


def products(graph, output):
    boxes, heard, named = objectness_apart(graph, output)
    return (graph.op("Concat", boxes, graph.op("Mul", named, heard), axis=2),)


def boxes_scores_labels(graph, output):
    return tuple(graph.slice(output, 2, *part) for part in ((0, 4), (4, 5), (5, 6)))


def ended(model, end):
    """Put an end behind a model's only output."""
    graph = GraphBuilder(model, "end/")
    given = end(graph, model.graph.output[0].name)
    del model.graph.output[:]
    for name in given:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


@pytest.mark.parametrize(
    ("export", "end"),
    [
        (networks.ultralytics, boxes_and_scores),
        (networks.ultralytics, turned_shares),
        (networks.ultralytics, vertical_first),
        (networks.ultralytics, one_more_axis),
        (networks.ultralytics, no_batch),
        (networks_yolo.yolov5, columns),
        (networks_yolo.yolov5, objectness_apart),
        (networks_yolo.yolov5, products),
        (networks_yolo.end_to_end, boxes_scores_labels),
    ],
)
def test_it_detects_what_the_same_model_without_that_end_detects(tmp_path, export, end):
    pixels = by_hand.frame(SIZE)
    adapted = by_hand.understood(tmp_path, ended(export(size=SIZE), end))
    wanted = by_hand.understood(tmp_path, export(size=SIZE))

    assert adapted.family == wanted.family
    assert any("its end was cut off behind" in line for line in adapted.explain())
    by_hand.assert_same(by_hand.detected(adapted, pixels), *by_hand.detected(wanted, pixels))


def test_what_no_family_knows_without_its_end_is_refused_for_what_it_is_as_a_whole(tmp_path):
    model = ended(networks_yolo.yolov5(), one_more_axis)

    with pytest.raises(ModelError, match=r"not yolox: output \('batch', 1, 252, 8\)"):
        by_hand.understood(tmp_path, model, family="yolox")
