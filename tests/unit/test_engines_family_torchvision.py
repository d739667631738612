"""torchvision's detection outputs: adapted where what is in front of them has a fixed shape."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_torchvision import torchvision

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
    with pytest.raises(ModelError, match=r"in front of its threshold.*RetinaNet or FCOS"):
        by_hand.understood(tmp_path, torchvision(decoded_late=True))
