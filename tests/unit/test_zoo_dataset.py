"""What a detector learns from: boxes follow the picture, and what is too small is ignored."""

from __future__ import annotations

import numpy as np
import pytest

from engines.zoo.dataset import MIN_SIDE_PX, Jitter, fitted, jittered

pytestmark = pytest.mark.needs("cv2")

SIZE = (384, 224)


def _frame(box):
    image = np.zeros((360, 640, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255
    return image, np.array([box], np.float32), np.array([0])


def _white(image):
    rows, columns = np.nonzero(image.min(axis=2) > 150)
    return np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])


def test_a_fitted_box_lies_where_the_thing_is():
    sample = fitted(_frame((100, 80, 220, 200)), SIZE)
    assert np.abs(sample.boxes[0] - _white(sample.image)).max() <= 1


@pytest.mark.parametrize("seed", range(8))
def test_a_jittered_box_lies_where_the_thing_is(seed):
    still = Jitter(SIZE, gain=0, tint=0, zoom=(0.8, 1.0))
    sample = jittered(_frame((100, 80, 220, 200)), SIZE, still, np.random.default_rng(seed))
    assert np.abs(sample.boxes[0] - _white(sample.image)).max() <= 1.5


def test_a_box_too_small_in_the_network_is_ignored():
    side = round(MIN_SIDE_PX / 0.6) - 2
    sample = fitted(_frame((100, 80, 100 + side, 200)), SIZE)
    assert len(sample.boxes) == 0
    assert len(sample.ignored) == len(sample.ignored_labels) == 1
