"""FastestDet: one candidate per cell of one map."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_nanodet import fastestdet

SIZE = (64, 48)


def expected(model, pixels):
    """Decode cell by cell, as FastestDet's own example does."""
    fed = (pixels.astype(np.float32) / 255).transpose(2, 0, 1)[None]
    found = by_hand.session(model).run(None, {"images": fed})[0][0]
    boxes, scores, labels = [], [], []
    for row in range(found.shape[1]):
        for column in range(found.shape[2]):
            cell = found[:, row, column]
            centre = (np.tanh(cell[1:3]) + np.array([column, row])) / (
                found.shape[2],
                found.shape[1],
            )
            size = 1 / (1 + np.exp(-cell[3:5]))
            corners = np.concatenate([centre - size / 2, centre + size / 2])
            boxes.append(corners * (*SIZE, *SIZE))
            scores.append(cell[0] * cell[5:].max())
            labels.append(cell[5:].argmax())
    boxes, scores, labels = np.array(boxes), np.array(scores), np.array(labels)
    kept = by_hand.suppressed(boxes, scores, labels, 0.45)
    return boxes[kept], scores[kept], labels[kept]


def test_it_detects_what_a_decode_by_hand_detects(tmp_path):
    model, pixels = fastestdet(), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    assert adapted.family.name == "fastestdet"
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_it_takes_batches(tmp_path):
    assert by_hand.understood(tmp_path, fastestdet()).network.batched


def test_labels_that_are_no_shares_are_refused(tmp_path):
    with pytest.raises(ModelError, match="add up to 1"):
        by_hand.understood(tmp_path, fastestdet(softmax=False), family="fastestdet")
