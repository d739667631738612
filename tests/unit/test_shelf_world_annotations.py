"""The ground truth as values and as COCO."""

import numpy as np
import pytest

from edge.capture.shelf_world.annotations import Placed, coco, visible_box


def placed(**changes):
    known = {
        "number": 5,
        "label": "can",
        "xyxy": (10, 20, 40, 80),
        "visible": 0.5,
        "aisle": "07",
        "bay": 0,
        "level": 2,
    }
    return Placed(**(known | changes))


@pytest.mark.parametrize("box", [(-1, 0, 5, 5), (5, 5, 5, 9), (5, 9, 8, 5)])
def test_a_box_is_inside_the_picture_and_not_empty(box):
    with pytest.raises(ValueError, match="xyxy"):
        placed(xyxy=box)


def test_a_label_is_one_of_the_shelf_world_s():
    with pytest.raises(ValueError, match="label"):
        placed(label="cow")


def test_a_visible_box_bounds_the_pixels_of_one_object():
    numbers = np.zeros((20, 30), np.uint16)
    numbers[3:7, 5:12] = 9
    numbers[5:9, 10:20] = 4
    assert visible_box(numbers, 9, (-4, -4, 40, 40)) == ((5, 3, 12, 7), 24)
    assert visible_box(numbers, 8, (0, 0, 30, 20)) is None
    assert visible_box(numbers, 9, (-9, -9, -2, -2)) is None


def test_coco_counts_from_one_and_keeps_where_things_stand():
    frames = [("a.png", (64, 48), [placed()]), ("b.png", (64, 48), [placed(label="box"), placed()])]
    found = coco(frames)
    assert [image["id"] for image in found["images"]] == [1, 2]
    assert [(one["id"], one["image_id"]) for one in found["annotations"]] == [
        (1, 1),
        (2, 2),
        (3, 2),
    ]
    first = found["annotations"][0]
    assert first["bbox"] == [10, 20, 30, 60]
    assert first["area"] == 1800
    assert (first["aisle"], first["bay"], first["level"]) == ("07", 0, 2)
    names = {one["id"]: one["name"] for one in found["categories"]}
    assert names[first["category_id"]] == "can"
