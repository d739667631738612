"""RT-DETR of PaddleDetection: rows of label, score and box."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_paddle import rt_detr, yolov3

SIZE = (64, 48)


@pytest.mark.parametrize("labels", [1, 3])
def test_it_gives_what_the_export_gives(tmp_path, labels):
    model, pixels = rt_detr(labels=labels), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    fed = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    told = {"im_shape": np.float32([SIZE[::-1]]), "scale_factor": np.float32([[1, 1]])}
    rows, _ = by_hand.session(model).run(None, {"images": fed, **told})
    assert adapted.family.name == "rt-detr-paddle"
    assert adapted.recognised.label_count == labels
    by_hand.assert_same(by_hand.detected(adapted, pixels), rows[:, 2:], rows[:, 1], rows[:, 0])


def test_its_descendants_are_fed_otherwise_so_that_the_user_has_to_say_it(tmp_path):
    with pytest.raises(ModelError, match="no convolution follows its attention"):
        by_hand.understood(tmp_path, rt_detr(hybrid=False))


@pytest.mark.parametrize(
    ("model", "says"),
    [(rt_detr(sigmoids=False), "not the best of sigmoids"), (yolov3(), r"expected rows \(K, 6\)")],
)
def test_other_rows_are_refused(tmp_path, model, says):
    with pytest.raises(ModelError, match=says):
        by_hand.understood(tmp_path, model, family="rt-detr-paddle")
