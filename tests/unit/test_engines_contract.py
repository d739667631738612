"""A detector of each family becomes a contract graph that detects what a decode by hand does."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from edge.detector.agreement import iou_matrix
from engines import contract, nms
from engines.errors import ModelError
from engines.families import registry
from engines.graph import shape_of
from engines.native import NATIVE
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from tests import networks

EXPORTS = {"ultralytics": networks.ultralytics, "yolox": networks.yolox}


def adapted(folder, model, iou=nms.IOU):
    path = folder / "model.onnx"
    onnx.save(model, path)
    network = prepare(load_source(path), None)
    return contract.adapt(network, registry.recognise(network)[0], iou)


def session(model):
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


def frames(count, size=(64, 64), seed=3):
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, size[1] // 8, size[0] // 8, 3), np.uint8)
    noise = rng.integers(0, 40, (count, size[1], size[0], 3), np.uint8)
    return np.clip(coarse.repeat(8, 1).repeat(8, 2).astype(int) + noise, 0, 255).astype(np.uint8)


def decode_ultralytics(model, batch):
    """RGB / 255, NCHW; cxcywh and scores as they come."""
    fed = np.ascontiguousarray(batch[..., ::-1].transpose(0, 3, 1, 2)).astype(np.float32) / 255
    output = session(model).run(None, {"images": fed})[0][0].T
    centre, half = output[:, :2], output[:, 2:4] / 2
    return np.hstack([centre - half, centre + half]), output[:, 4:]


def decode_yolox(model, batch):
    """BGR 0..255; offsets from the cell in strides, log sizes, objectness times label."""
    fed = np.ascontiguousarray(batch.transpose(0, 3, 1, 2)).astype(np.float32)
    output = session(model).run(None, {"images": fed})[0][0]
    cells = [
        (x, y, stride) for stride in (8, 16, 32) for y in range(64 // stride)
        for x in range(64 // stride)
    ]  # fmt: skip
    boxes = []
    for row, (x, y, stride) in zip(output, cells, strict=True):
        centre = (row[:2] + np.float32([x, y])) * stride
        half = np.exp(row[2:4]) * stride / 2
        boxes.append([*(centre - half), *(centre + half)])
    return np.float32(boxes), output[:, 4:5] * output[:, 5:]


def expected(boxes, scores):
    """Best label per candidate, then greedy NMS per label."""
    labels, best = scores.argmax(1), scores.max(1)
    order = np.argsort(-best, kind="stable")
    iou = iou_matrix(boxes.astype(np.float32), boxes.astype(np.float32))
    kept = []
    for i in order:
        rivals = [j for j in kept if labels[j] == labels[i] and iou[i, j] > nms.IOU]
        if best[i] >= contract.FLOOR and not rivals:
            kept.append(i)
    return boxes[kept], best[kept], labels[kept]


@pytest.mark.parametrize(
    ("model", "decode"),
    [
        (networks.ultralytics(), decode_ultralytics),
        (networks.ultralytics(bins=8), decode_ultralytics),
        (networks.ultralytics(bins=8, middle=0.25), decode_ultralytics),
        (networks.yolox(), decode_yolox),
    ],
    ids=["ultralytics", "distributions", "unusual distributions", "yolox"],
)
def test_it_detects_what_a_decode_by_hand_detects(tmp_path, model, decode):
    graph = session(adapted(tmp_path, model))

    for frame in frames(3):
        boxes, scores, labels = (output[0] for output in graph.run(None, {"frames": frame[None]}))
        used = scores > 0
        wanted_boxes, wanted_scores, wanted_labels = expected(*decode(model, frame[None]))

        assert 1 < used.sum() < len(scores)
        np.testing.assert_allclose(scores[used], wanted_scores, atol=1e-5)
        np.testing.assert_array_equal(labels[used], wanted_labels)
        np.testing.assert_allclose(boxes[used], wanted_boxes, atol=1e-3)


def test_distributions_of_only_the_best_candidates_are_decoded(tmp_path):
    model = adapted(tmp_path, networks.ultralytics(bins=8, size=(192, 128)))

    shapes = {value.name: shape_of(value) for value in model.graph.value_info}
    (softmax,) = [node for node in model.graph.node if node.op_type == "Softmax"]

    assert networks.anchor_count((192, 128)) > contract.slots_of(model)
    assert shapes[softmax.output[0]][1:] == (contract.slots_of(model), 4, 8)


def test_distributions_decoded_in_an_unknown_way_are_left_to_the_network(tmp_path):
    model = adapted(tmp_path, networks.ultralytics(bins=8, middle=0.25))

    softmax = [node.name for node in model.graph.node if node.op_type == "Softmax"]

    assert [name.partition("/")[0] for name in softmax] == ["net"]


@pytest.mark.parametrize("family", EXPORTS)
def test_two_frames_at_once_give_what_each_gives_alone(tmp_path, family):
    graph = session(adapted(tmp_path, EXPORTS[family]()))
    pair = frames(2)

    together = graph.run(None, {"frames": pair})

    for index in range(2):
        alone = graph.run(None, {"frames": pair[index : index + 1]})
        for one, both in zip(alone, together, strict=True):
            np.testing.assert_allclose(one[0], both[index], atol=1e-4)


@pytest.mark.parametrize("family", EXPORTS)
def test_a_wide_input_keeps_its_shape(tmp_path, family):
    graph = session(adapted(tmp_path, EXPORTS[family](size=(128, 64))))

    boxes, scores, labels = graph.run(None, {"frames": frames(1, (128, 64))})

    slots = networks.anchor_count((128, 64))
    assert (boxes.shape, scores.shape, labels.shape) == ((1, slots, 4), (1, slots), (1, slots))


@pytest.mark.parametrize("family", EXPORTS)
@pytest.mark.parametrize("labels", [1, 80])
def test_one_label_and_many_are_told_apart(tmp_path, family, labels):
    model = adapted(tmp_path, EXPORTS[family](labels=labels))

    found = session(model).run(["labels"], {"frames": frames(1)})[0]

    assert found.dtype == np.int32
    assert 0 <= found.min() <= found.max() < labels


@pytest.mark.parametrize("family", EXPORTS)
def test_it_holds_only_operators_that_every_runtime_has(tmp_path, family):
    model = adapted(tmp_path, EXPORTS[family]())

    assert {node.op_type for node in model.graph.node} <= NATIVE
    assert {node.domain for node in model.graph.node} == {""}
    assert [entry.version for entry in model.opset_import] == [17]


def test_without_nms_every_candidate_keeps_its_score(tmp_path):
    graphs = [session(adapted(tmp_path, networks.yolox(), iou)) for iou in (None, nms.IOU)]

    kept, suppressed = (graph.run(["scores"], {"frames": frames(1)})[0] for graph in graphs)

    assert (kept > 0).sum() > (suppressed > 0).sum()


def test_plugins_and_data_dependent_shapes_are_not_native():
    assert not NATIVE & {"NonMaxSuppression", "EfficientNMS_TRT", "QLinearConv", "Unique"}


@pytest.mark.parametrize("family", EXPORTS)
def test_the_cast_comes_first_since_tensorrt_can_do_nothing_else_with_uint8(tmp_path, family):
    model = adapted(tmp_path, EXPORTS[family]())

    readers = [node.op_type for node in model.graph.node if "frames" in node.input]

    assert readers == ["Cast"]


def test_the_same_model_gives_the_same_bytes(tmp_path):
    model = networks.ultralytics()

    first, second = (adapted(tmp_path, model).SerializeToString() for _ in range(2))

    assert first == second


def test_a_graph_that_is_no_contract_is_refused():
    with pytest.raises(ModelError, match="not a contract graph"):
        contract.check(networks.yolox())


@pytest.mark.parametrize(
    ("count", "suppressing", "slots"),
    [
        (8400, True, 1024),
        (2100, True, 562),
        (850, True, 406),
        (84, True, 84),
        (900, False, 900),
        (300, False, 300),
    ],
)
def test_as_many_candidates_are_kept_as_a_full_shelf_needs(count, suppressing, slots):
    assert contract.slots_for(count, suppressing=suppressing) == slots
