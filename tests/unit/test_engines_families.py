"""Which family a network is of: read from the graph, and never guessed."""

from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.families import registry
from engines.families.grid import corners_and_strides, strides_of
from engines.graph import GraphBuilder
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from tests import networks, networks_yolo


def network(folder, model):
    path = folder / "model.onnx"
    onnx.save(model, path)
    return prepare(load_source(path), None)


def family_of(folder, model, name=None):
    return registry.recognise(network(folder, model), name)[0].name


def replace_output(model, change):
    """Let `change(graph, output)` make another output of the only one."""
    graph = GraphBuilder(model, "after/")
    output = model.graph.output[0].name
    made = change(graph, output)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    return model


@pytest.mark.parametrize(
    ("model", "family"),
    [
        (networks.ultralytics(), "ultralytics"),
        (networks.ultralytics(labels=1), "ultralytics"),
        (networks.ultralytics(corners=True), "ultralytics"),
        (networks.yolox(), "yolox"),
        (networks.yolox(labels=1), "yolox"),
    ],
)
def test_a_known_head_is_recognised(tmp_path, model, family):
    assert family_of(tmp_path, model) == family


def test_it_says_what_it_was_recognised_by(tmp_path):
    _, recognised = registry.recognise(network(tmp_path, networks.ultralytics(labels=3)))

    assert recognised.label_count == 3
    assert "(1, 4 + 3, 84)" in recognised.evidence[0]
    assert "strides 8, 16, 32" in recognised.evidence[0]


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (networks.yolox(decoded=True), "goes beyond 0..1, so is no score"),
        (
            # Key points follow the scores where the model has them, and no metadata says so.
            replace_output(networks.ultralytics(), lambda g, o: g.op("Concat", o, o, axis=1)),
            "not ultralytics: what follows its 4 rows of boxes goes beyond 0..1, so is no score",
        ),
        (
            # As YOLOv5 has it, three anchors per cell, but of boxes that are not decoded.
            replace_output(networks.yolox(), lambda g, o: g.op("Concat", o, o, o, axis=1)),
            "not yolov5: its boxes' centres, in pixels, do not lie at their cells",
        ),
        (
            networks_yolo.raw_heads(),
            "not yolov3, yolov4, yolov5-raw: its raw heads need the anchors",
        ),
        (
            replace_output(networks.yolox(), lambda g, o: g.op("ReduceMean", o, axes=[1, 2])),
            "outputs {'after/ReduceMean_0': ('batch', 1, 1)}; no family has outputs of such shapes",
        ),
    ],
)
def test_another_head_is_refused_with_its_outputs_the_reason_and_the_known_families(
    tmp_path, model, says
):
    with pytest.raises(ModelError) as error:
        family_of(tmp_path, model)

    message = str(error.value)
    assert says in message
    assert "; export it as docs/families.md says; known families: ultralytics, yolox, " in message
    assert "\n" not in message


@pytest.mark.parametrize("task", ["segment", "pose", "obb", "classify"])
def test_a_model_for_another_task_is_refused_as_that(tmp_path, task):
    says = rf"task '{task}', expected 'detect'.*; train and export the detection model"

    with pytest.raises(ModelError, match=says):
        family_of(tmp_path, networks.ultralytics(task=task))


def with_masks(model):
    model.graph.output.append(helper.make_tensor_value_info("protos", TensorProto.FLOAT, None))
    GraphBuilder(model, "more/").publish(GraphBuilder(model, "seg/").op("Relu", "images"), "protos")
    return model


def classifier(model):
    return replace_output(
        model, lambda g, o: g.op("Softmax", g.op("ReduceMean", o, axes=[1], keepdims=0))
    )


def stripped(model):
    del model.metadata_props[:]
    return model


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (with_masks(stripped(networks.ultralytics())), "parts of masks, so it is for segmentation"),
        (classifier(networks.yolox()), "one row and no boxes, so it is for classification"),
    ],
)
def test_outputs_of_another_task_are_refused_as_that_without_metadata(tmp_path, model, says):
    with pytest.raises(ModelError, match=f"{says}.*; train and export the detection model"):
        family_of(tmp_path, model)


def test_candidates_without_a_batch_are_no_classification(tmp_path):
    model = replace_output(
        stripped(networks.ultralytics()), lambda g, o: g.reshape(g.slice(o, 0, 0, 1), (7, 84))
    )

    with pytest.raises(ModelError, match="no family has outputs of such shapes"):
        family_of(tmp_path, model)


def test_an_angle_is_no_label_even_where_the_family_is_named(tmp_path):
    model = stripped(networks.ultralytics())
    (joined,) = (node for node in model.graph.node if node.output[0] == "output0")
    model.graph.node.remove(joined)
    graph = GraphBuilder(model, "angle/")
    angle = graph.op("Abs", graph.op("Sin", graph.slice(joined.input[0], 1, 0, 1)))
    parts = graph.op("Concat", *joined.input, angle, axis=1)
    del model.graph.output[0].type.tensor_type.shape.dim[:]
    model.graph.output[0].name = parts

    with pytest.raises(ModelError, match="rows that no sigmoid makes: the angles of rotated boxes"):
        family_of(tmp_path, model, "ultralytics")


def unlike(graph, output):
    """Scores that come out of no sigmoid, as far as one can see."""
    return graph.op("Min", output, graph.constant(1e4))


def test_a_head_that_only_looks_alike_stops_and_names_the_choice(tmp_path):
    model = replace_output(networks.ultralytics(), unlike)

    with pytest.raises(ModelError, match=r"not certain .*say which it is: --family ultralytics"):
        family_of(tmp_path, model)


def test_the_choice_is_then_taken(tmp_path):
    model = replace_output(networks.ultralytics(), unlike)

    assert family_of(tmp_path, model, "ultralytics") == "ultralytics"


@pytest.mark.parametrize(
    ("name", "says"), [("yolox", "not yolox: "), ("yolo", "no family is called 'yolo'")]
)
def test_a_family_that_cannot_be_is_refused_though_asked_for(tmp_path, name, says):
    with pytest.raises(ModelError, match=says):
        family_of(tmp_path, networks.ultralytics(), name)


@pytest.mark.parametrize(
    ("size", "count", "strides"),
    [
        ((640, 640), 8400, (8, 16, 32)),
        ((320, 320), 2100, (8, 16, 32)),
        ((640, 384), 5040, (8, 16, 32)),
        ((416, 416), 845, (16, 32)),
        ((1280, 1280), 34000, (8, 16, 32, 64)),
        ((640, 640), 34000, (4, 8, 16, 32)),
        ((640, 640), 33600, (4, 8, 16)),
        ((640, 640), 8000, (8, 16)),
        ((640, 640), 25200, None),
        ((640, 640), 300, None),
    ],
)
def test_strides_are_read_from_the_number_of_candidates(size, count, strides):
    assert strides_of(size, count) == strides


def test_cells_are_counted_row_by_row_smallest_stride_first():
    corners, strides = corners_and_strides((64, 32), (8, 32))

    assert corners[:, :9].T.tolist() == [[x, 0.0] for x in range(8)] + [[0.0, 1.0]]
    assert corners[:, -2:].T.tolist() == [[0, 0], [1, 0]]
    assert strides.tolist() == [[8.0] * 32 + [32.0] * 2]
