"""DetectNet_v2: a sigmoid and distances in units of 35 pixels, a box per label and cell."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_detectnet import STRIDE, detectnet

SIZE = (96, 64)


def expected(model, pixels):
    """Decode as TAO's script for its exports does, cell by cell, and suppress."""
    fed = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    coverage, sides = (out[0] for out in by_hand.session(model).run(None, {"images": fed}))
    boxes, scores, labels = [], [], []
    for label, row, column in np.ndindex(*coverage.shape):
        left, top, right, bottom = sides[4 * label : 4 * label + 4, row, column] * 35
        x, y = column * STRIDE + 0.5, row * STRIDE + 0.5
        boxes.append([x - left, y - top, x + right, y + bottom])
        scores.append(coverage[label, row, column])
        labels.append(label)
    found = np.float32(boxes), np.float32(scores), np.array(labels)
    kept = by_hand.suppressed(*found, 0.5)
    return tuple(part[kept] for part in found)


@pytest.mark.parametrize("labels", [1, 3])
def test_it_detects_what_a_decode_by_hand_detects(tmp_path, labels):
    model, pixels = detectnet(labels=labels, size=SIZE), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert (adapted.family.name, adapted.input.letterbox) == ("detectnet-v2", "stretch")
    assert len(adapted.labels) == labels
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_outputs_of_other_names_are_taken_where_the_user_says_so(tmp_path):
    model = detectnet(names=("scores", "boxes"))

    with pytest.raises(ModelError, match="not called output_cov and output_bbox"):
        by_hand.understood(tmp_path, model)

    adapted = by_hand.understood(tmp_path, model, family="detectnet-v2")
    assert adapted.recognised.label_count == 3
