"""TensorFlow's SSD: what tf2onnx puts around the network goes, and it detects the same."""

from __future__ import annotations

import onnx
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_tensorflow import tensorflow

SIZE = (64, 64)


def expected(model, pixels):
    """Suppress, by hand, what the whole graph feeds its NMS with, each box under its best label."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for name in ("decoded", "shown"):
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    fed = {"input_tensor": pixels[None, :, :, ::-1]}
    boxes, shown = (x[0] for x in by_hand.session(probe).run(["decoded", "shown"], fed))
    corners = boxes[:, [1, 0, 3, 2]] * 64
    best, labels = shown.max(1), shown.argmax(1)
    kept = by_hand.suppressed(corners, best, labels, 0.6)
    return corners[kept], best[kept], labels[kept]


@pytest.mark.parametrize("resizer", [True, False], ids=["resizer", "open size"])
@pytest.mark.parametrize("mapped", [True, False], ids=["in a loop", "bare"])
def test_it_detects_what_the_whole_graph_detects(tmp_path, resizer, mapped):
    model, pixels = tensorflow(resizer=resizer, mapped=mapped), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model, size_wh=SIZE)

    assert adapted.family.name == "ssd-tensorflow"
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_the_resizer_says_which_size_it_is(tmp_path):
    assert by_hand.understood(tmp_path, tensorflow(side=96)).input.resolution_wh == (96, 96)


def test_another_size_than_the_resizers_is_refused(tmp_path):
    with pytest.raises(ModelError, match="--size asks for"):
        by_hand.understood(tmp_path, tensorflow(side=96), size_wh=(64, 64))


def test_without_a_resizer_the_size_is_asked_for(tmp_path):
    with pytest.raises(ModelError, match="its input size is open"):
        by_hand.understood(tmp_path, tensorflow(resizer=False))


def test_neither_loop_nor_nms_is_left(tmp_path):
    adapted = by_hand.understood(tmp_path, tensorflow())

    left = {node.op_type for node in adapted.graph.graph.node}
    assert not left & {"Loop", "NonMaxSuppression", "Resize"}


def test_the_background_is_no_label(tmp_path):
    assert len(by_hand.understood(tmp_path, tensorflow(labels=3)).labels) == 3


def test_it_takes_batches(tmp_path):
    assert by_hand.understood(tmp_path, tensorflow()).network.batched
