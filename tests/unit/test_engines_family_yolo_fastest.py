"""YOLO-FastestV2: anchors that share their labels."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_nanodet import FASTEST_ANCHORS, yolo_fastest

SIZE = (96, 64)
GIVEN = tuple(FASTEST_ANCHORS.ravel().tolist())


def expected(model, pixels):
    """Decode cell by cell, as its own script does."""
    image = (pixels / 255).astype(np.float32).transpose(2, 0, 1)[None]
    found = by_hand.session(model).run(None, {"images": image})
    boxes, scores = [], []
    for stride, values, anchors in zip((16, 32), found, FASTEST_ANCHORS, strict=True):
        for y, x in np.ndindex(values.shape[1:3]):
            cell = values[0, y, x]
            for number, anchor in enumerate(anchors.reshape(3, 2)):
                xy, wh = cell[4 * number : 4 * number + 4].reshape(2, 2)
                centre, half = (2 * xy - 0.5 + (x, y)) * stride, (2 * wh) ** 2 * anchor / 2
                boxes.append([*(centre - half), *(centre + half)])
                scores.append(cell[12 + number] * cell[15:])
    boxes, scores = np.array(boxes), np.array(scores)
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, 0.4)
    return boxes[kept], best[kept], labels[kept]


def test_it_detects_what_a_decode_by_hand_detects(tmp_path):
    model, pixels = yolo_fastest(size=SIZE), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model, anchors=GIVEN)

    assert adapted.family.name == "yolo-fastestv2"
    assert (adapted.input.letterbox, len(adapted.labels)) == ("stretch", 3)
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels))


def test_without_anchors_it_asks_for_them(tmp_path):
    with pytest.raises(ModelError, match=r"yolo-fastestv2: .*give --anchors"):
        by_hand.understood(tmp_path, yolo_fastest())
