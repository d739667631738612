"""Faster R-CNN from its weights: fixed shapes, plain operators, torchvision's arithmetic.

That it is torchvision's own detections is held in the integration tests, where torch is installed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from calibration.quantise import quantise
from edge.errors import MissingPackage
from engines import contract
from engines.arguments import parser
from engines.errors import ModelError
from engines.faster_rcnn import boxes, checkpoint
from engines.faster_rcnn.export import network
from engines.faster_rcnn.layers import Layers
from engines.graph import GraphBuilder
from engines.inspection import Order, understand
from engines.order import order_of
from engines.portable import portable
from tests import by_hand, networks
from tests.networks_faster_rcnn import weights

SIZE = (96, 64)
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])


@pytest.fixture
def pth(tmp_path, monkeypatch):
    """Return how to understand a checkpoint of given weights, without torch."""

    def of(found, size=SIZE, **asked):
        path = tmp_path / "model.pth"
        path.write_bytes(b"read by the test")
        monkeypatch.setattr(checkpoint, "read", lambda _: found)
        return understand(Order(model=path, name="model", version="1", size_wh=size, **asked))

    return of


def test_anchors_are_as_large_as_their_side_whatever_their_shape():
    found = boxes.anchors((32,), (64, 64), (2, 2))

    assert found.shape == (2 * 2 * 3, 4)
    np.testing.assert_array_equal(
        found[:3], [[-23, -11, 23, 11], [-16, -16, 16, 16], [-11, -23, 11, 23]]
    )


def test_anchors_go_cell_by_cell():
    found = boxes.anchors((32, 64), (128, 64), (2, 4))

    np.testing.assert_array_equal(found[6] - found[0], [32, 0, 32, 0])
    np.testing.assert_array_equal(found[6 * 4] - found[0], [0, 32, 0, 32])


def decoded(box, delta, spread=(1.0, 1.0), size=SIZE):
    model = helper.make_model(
        helper.make_graph([], "g", [], []), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    graph = GraphBuilder(model)
    made = boxes.decode(graph, graph.constant([[box]]), graph.constant([[delta]]), spread, size)
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, [1, 1, 4]))
    return by_hand.session(model).run(None, {})[0][0, 0]


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ([0, 0, 0, 0], [10, 10, 30, 50]),
        ([0.5, 0, 0, 0], [20, 10, 40, 50]),
        ([0, 0, np.log(2), 0], [0, 10, 40, 50]),
        ([0, 1, 0, 0], [10, 50, 30, 64]),
        ([0, 0, 100, 100], [0, 0, 96, 64]),
    ],
    ids=["as it is", "moved", "grown", "clipped", "never beyond numbers"],
)
def test_a_box_is_moved_and_grown(delta, expected):
    np.testing.assert_allclose(decoded([10, 10, 30, 50], delta), expected, atol=1e-4)


def test_the_second_stage_divides_its_deltas():
    np.testing.assert_allclose(
        decoded([10, 10, 30, 50], [5, 0, 0, 0], (10.0, 5.0)), [20, 10, 40, 50], atol=1e-4
    )


def test_a_norm_is_folded_into_its_convolution():
    rng = np.random.default_rng(0)
    found = {
        "c.weight": rng.normal(size=(4, 3, 1, 1)),
        **{f"n.{part}": rng.uniform(0.5, 2, 4) for part in ("weight", "bias", "running_var")},
        "n.running_mean": rng.normal(size=4),
    }
    found = {name: value.astype(np.float32) for name, value in found.items()}
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 2, 2])
    model = helper.make_model(
        helper.make_graph([], "g", [image], []), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    made = Layers(GraphBuilder(model), found).conv("x", "c", "n")
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))
    pixels = rng.normal(size=(1, 3, 2, 2)).astype(np.float32)

    (folded,) = by_hand.session(model).run(None, {"x": pixels})

    plain = np.einsum("oi,bihw->bohw", found["c.weight"][..., 0, 0], pixels)
    column = [found[f"n.{p}"][:, None, None] for p in ("running_mean", "running_var", "weight")]
    normed = (plain - column[0]) / np.sqrt(column[1] + 1e-5) * column[2]
    np.testing.assert_allclose(folded, normed + found["n.bias"][:, None, None], atol=1e-4)


def test_it_detects_what_a_decode_by_hand_detects(pth):
    adapted, pixels = pth(weights()), by_hand.frame(SIZE)

    fed = ((pixels[:, :, ::-1] / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
    proposals, objectness, logits, deltas = (
        x[0]
        for x in by_hand.session(adapted.network.model).run(
            ["proposals", "objectness", "class_logits", "box_deltas"], {"image": fed}
        )
    )
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    found = [], [], []
    for proposal in np.flatnonzero(objectness > 0):
        low, high = proposals[proposal, :2], proposals[proposal, 2:]
        for label in range(3):
            delta = deltas[proposal * 4 + label + 1]
            centre = (low + high) / 2 + delta[:2] / 10 * (high - low)
            half = (high - low) * np.exp(np.minimum(delta[2:] / 5, np.log(1000 / 16))) / 2
            corners = np.concatenate([centre - half, centre + half])
            found[0].append(np.clip(corners, 0, [*SIZE, *SIZE]))
            found[1].append(shares[proposal, label + 1])
            found[2].append(label)
    box, score, label = map(np.array, found)
    kept = by_hand.suppressed(box, score, label, 0.5, contract.slots_of(adapted.graph))
    assert adapted.family.name == "faster-rcnn"
    by_hand.assert_same(by_hand.detected(adapted, pixels), box[kept], score[kept], label[kept])


def test_proposals_of_a_map_do_not_cover_each_other(pth):
    adapted, pixels = pth(weights()), by_hand.frame(SIZE)
    fed = ((pixels[:, :, ::-1] / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]
    found, objectness = by_hand.session(adapted.network.model).run(
        ["proposals", "objectness"], {"image": fed}
    )

    kept = found[0][objectness[0] > 0]
    best = kept[:30]  # of five maps, so that up to five may lie on one another
    covered = (by_hand.overlaps(best) > 0.7).sum(1)
    assert 10 < len(kept) < found.shape[1]
    assert covered.max() <= 5


def test_in_8_bits_for_onnx_runtime_the_nms_of_every_map_is_the_operator(pth):
    pixels = [by_hand.frame(SIZE)]
    encoded = quantise(pth(weights()).graph, pixels).cpu
    faster = portable(encoded)
    fed = {"frames": pixels[0][np.newaxis]}

    assert [n.op_type for n in faster.graph.node].count("NonMaxSuppression") == 6
    expected, found = (by_hand.session(graph).run(None, fed) for graph in (encoded, faster))
    assert (expected[1] > 0).sum() > 10
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-4)


def test_fewer_proposals_are_the_best_of_all(pth):
    pixels = by_hand.frame(SIZE)
    fed = ((pixels[:, :, ::-1] / 255 - MEAN) / STD).astype(np.float32).transpose(2, 0, 1)[None]

    def proposed(**asked):
        session = by_hand.session(pth(weights(), **asked).network.model)
        return [x[0] for x in session.run(["proposals", "objectness"], {"image": fed})]

    (few, few_scores), (all_of_them, scores) = proposed(proposals=20), proposed()

    assert len(few) == 20 < len(all_of_them)
    np.testing.assert_allclose(few_scores, np.sort(scores)[::-1][:20], atol=1e-6)
    np.testing.assert_allclose(few, all_of_them[:20], atol=1e-3)


def test_how_many_proposals_are_kept_is_explained(pth):
    lines = pth(weights(), proposals=20).explain()

    assert any("20 proposals" in line and "else: --proposals" in line for line in lines)


def test_a_graph_has_its_proposals_fixed(tmp_path):
    with pytest.raises(ModelError, match="leave --proposals out"):
        by_hand.understood(tmp_path, networks.ultralytics(), proposals=20)


@pytest.mark.parametrize("given", ["0", "1001", "-3", "many"])
def test_a_number_of_proposals_out_of_range_is_refused(given):
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(["model.pth", f"--proposals={given}"])
    assert raised.value.code == 2


def test_the_number_of_proposals_reaches_the_build():
    assert order_of(parser().parse_args(["model.pth", "--proposals", "200"])).proposals == 200


def test_every_shape_is_fixed(pth):
    adapted = pth(weights())

    for value in adapted.graph.graph.value_info:
        assert all(d.HasField("dim_value") for d in value.type.tensor_type.shape.dim)


def test_fifteen_anchors_per_cell_are_all_sides(pth):
    assert pth(weights(anchors=15)).recognised.label_count == 3


def test_names_from_before_torchvision_0_13_are_known(pth):
    old = {
        name.replace("rpn.head.conv.0.0.", "rpn.head.conv.").replace("0.0.", "0.")
        if "inner_blocks.0" in name
        else name.replace("rpn.head.conv.0.0.", "rpn.head.conv."): value
        for name, value in weights().items()
    }

    assert pth(old).recognised.label_count == 3


@pytest.mark.parametrize("size", [None, (100, 64)], ids=["none", "no multiple of 32"])
def test_the_size_must_be_given(pth, size):
    with pytest.raises(ModelError, match="does not say its input size"):
        pth(weights(), size)


def test_other_checkpoints_are_refused(pth):
    found = {name: value for name, value in weights().items() if not name.startswith("rpn")}

    with pytest.raises(ModelError, match=r"found no rpn\.head\.cls_logits\.weight"):
        pth(found)


def test_weights_that_no_layer_reads_are_not_ignored():
    found = weights() | {"roi_heads.mask_head.0.weight": np.zeros(1, np.float32)}

    with pytest.raises(ModelError, match=r"belong to no layer known here.*mask_head"):
        network(found, SIZE, Path("model.pth"))


def test_another_backbone_is_refused():
    found = {name.replace("layer1.0.conv1", "stages"): value for name, value in weights().items()}

    with pytest.raises(ModelError, match="neither a ResNet nor MobileNetV3"):
        network(found, SIZE, Path("model.pth"))


def test_without_torch_the_extra_is_named_and_for_what(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    with pytest.raises(MissingPackage) as raised:
        checkpoint.read(Path("model.pth"))
    assert "for torchvision's Faster R-CNN: " in str(raised.value)
    assert " -m pip install 'aisle-edge[torch]'" in str(raised.value)
    assert "of any other model give the ONNX export" in str(raised.value)


def test_its_operators_are_native(pth):
    onnx.checker.check_model(pth(weights()).graph)
