"""TensorFlow's SSD: what tf2onnx puts around the network goes, and it detects the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_tensorflow import LETTERBOX, STRETCH, tensorflow

SIZE = (64, 64)


def expected(model, pixels):
    """Suppress, by hand, what the whole graph feeds its NMS with, each box under its best label.

    As the exporter's own NMS does, it leaves out what lies beside the picture.
    """
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    for name in ("decoded", "shown"):
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    fed = {"input_tensor": pixels[None, :, :, ::-1]}
    boxes, shown = (x[0] for x in by_hand.session(probe).run(["decoded", "shown"], fed))
    corners = boxes[:, [1, 0, 3, 2]] * 64
    seen = (np.clip(corners, 0, 64)[:, 2:] > np.clip(corners, 0, 64)[:, :2]).all(1)
    assert not seen.all()
    best, labels = shown.max(1) * seen, shown.argmax(1)
    kept = by_hand.suppressed(corners, best, labels, 0.6)
    return corners[kept], best[kept], labels[kept]


@pytest.mark.parametrize("resizer", [STRETCH, None], ids=["resizer", "open size"])
@pytest.mark.parametrize("mapped", [True, False], ids=["in a loop", "one for each label"])
def test_it_detects_what_the_whole_graph_detects(tmp_path, resizer, mapped):
    model, pixels = tensorflow(resizer=resizer, mapped=mapped), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model, size_wh=SIZE)

    assert adapted.family.name == "ssd-tensorflow"
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


@pytest.mark.parametrize("mapped", [True, False], ids=["in a loop", "one NMS"])
def test_of_one_label_too(tmp_path, mapped):
    model, pixels = tensorflow(labels=1, mapped=mapped), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "ssd-tensorflow"
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_four_labels_are_not_taken_for_boxes(tmp_path):
    model, pixels = tensorflow(labels=4, mapped=False), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


@pytest.mark.parametrize("size", [("h", "w"), (64, 64), (48, 80)], ids=str)
def test_the_resizer_says_which_size_it_is_whatever_the_export_takes(tmp_path, size):
    model, pixels = tensorflow(size=size), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.input.resolution_wh == (64, 64)
    open_size = tensorflow()
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(open_size, pixels))


def test_a_resizer_that_keeps_the_aspect_ratio_is_seen(tmp_path):
    model, pixels = tensorflow(resizer=LETTERBOX), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    # Black was put behind the picture after it had been normalised to -1..1.
    assert (adapted.input.letterbox, adapted.input.pad) == ("top-left", 128)
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_another_size_than_the_resizers_is_refused(tmp_path):
    with pytest.raises(ModelError, match="--size asks for"):
        by_hand.understood(tmp_path, tensorflow(side=96), size_wh=(64, 64))


def test_without_a_resizer_the_size_is_asked_for(tmp_path):
    with pytest.raises(ModelError, match="its input size is open"):
        by_hand.understood(tmp_path, tensorflow(resizer=None))


@pytest.mark.parametrize("mapped", [True, False], ids=["in a loop", "one for each label"])
def test_neither_loop_nor_nms_is_left(tmp_path, mapped):
    adapted = by_hand.understood(tmp_path, tensorflow(mapped=mapped))

    left = {node.op_type for node in adapted.graph.graph.node}
    assert not left & {"Loop", "NonMaxSuppression", "Resize"}


@pytest.mark.parametrize("mapped", [True, False], ids=["in a loop", "one for each label"])
def test_two_stages_are_refused(tmp_path, mapped):
    with pytest.raises(ModelError, match="a Faster R-CNN of TensorFlow's"):
        by_hand.understood(tmp_path, tensorflow(stages=2, mapped=mapped))


def test_without_an_nms_it_is_refused(tmp_path):
    with pytest.raises(ModelError, match="without an NMS in front: a CenterNet"):
        by_hand.understood(tmp_path, tensorflow(stages=0))


def test_boxes_in_pixels_are_refused(tmp_path):
    with pytest.raises(ModelError, match="'raw_boxes' holds no corners"):
        by_hand.understood(tmp_path, tensorflow(unit=64))


def test_the_background_is_no_label(tmp_path):
    assert len(by_hand.understood(tmp_path, tensorflow(labels=3)).labels) == 3


def test_it_takes_batches(tmp_path):
    assert by_hand.understood(tmp_path, tensorflow()).network.batched
