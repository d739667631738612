"""What a detector learns from: boxes follow the picture, and what is too small is ignored."""

from __future__ import annotations

import json

import numpy as np
import pytest

from engines.errors import ImagesError
from engines.zoo.dataset import MIN_SIDE_PX, Dataset, Frame, Jitter, fitted, jittered

pytestmark = pytest.mark.needs("cv2")

SIZE = (384, 224)


def _frame(box):
    image = np.zeros((360, 640, 3), np.uint8)
    left, top, right, bottom = box
    image[top:bottom, left:right] = 255
    return Frame(image, np.array([box], np.float32), np.array([0]), np.array([False]))


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


def test_a_crowd_is_ignored():
    frame = _frame((100, 80, 220, 200))._replace(crowd=np.array([True]))

    sample = fitted(frame, SIZE)

    assert len(sample.boxes) == 0
    assert len(sample.ignored) == 1


COCO = {
    "images": [{"id": 7, "file_name": "a.png"}],
    "categories": [{"id": 20, "name": "tote"}, {"id": 10, "name": "box"}],
    "annotations": [
        {"image_id": 7, "category_id": 20, "bbox": [1, 2, 30, 40]},
        {"image_id": 7, "category_id": 10, "bbox": [5, 5, 50, 50], "iscrowd": 1},
    ],
}


def _written(folder, coco):
    import cv2

    cv2.imwrite(str(folder / "a.png"), np.zeros((90, 160, 3), np.uint8))
    (folder / "annotations.json").write_text(json.dumps(coco))
    return folder


def test_a_folder_of_coco_is_read(tmp_path):
    data = Dataset([_written(tmp_path, COCO)])

    assert data.labels == ("box", "tote")
    assert data[0].boxes.tolist() == [[1, 2, 31, 42], [5, 5, 55, 55]]
    assert data[0].labels.tolist() == [1, 0]
    assert data[0].crowd.tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"categories": None}, "TypeError"),
        ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4]}]}, "KeyError: 3"),
        ({"annotations": [{"image_id": 7, "category_id": 10, "bbox": [1, 2]}]}, "ValueError"),
    ],
)
def test_what_is_no_coco_is_refused_in_one_line(tmp_path, change, said):
    with pytest.raises(ImagesError, match=said) as caught:
        Dataset([_written(tmp_path, COCO | change)])

    assert "\n" not in str(caught.value)


def test_folders_of_other_labels_are_not_mixed(tmp_path):
    (tmp_path / "b").mkdir()
    other = COCO | {"categories": [{"id": 10, "name": "crate"}, {"id": 20, "name": "tote"}]}

    with pytest.raises(ImagesError, match="one set of labels"):
        Dataset([_written(tmp_path, COCO), _written(tmp_path / "b", other)])
