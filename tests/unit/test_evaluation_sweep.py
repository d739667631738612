"""A frame is moved and spoilt, and its boxes are where the variant says."""

from __future__ import annotations

import numpy as np
import pytest

from engines.evaluation.sweep import GRID, cells_of, picture_in, variants, whole

PAD = 114
PICTURE = (0, 20, 128, 108)


def frame_with(*boxes):
    """Return a 128 x 128 letterboxed frame: white boxes in a dark picture between grey bars."""
    frame = np.full((128, 128, 3), PAD, np.uint8)
    frame[20:108] = 30
    for left, top, right, bottom in boxes:
        frame[top:bottom, left:right] = 255
    return frame


def white_box(image):
    rows, columns = np.nonzero(image.mean(axis=2) > 140)
    return [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def all_variants(*boxes, turn=0):
    xyxy = np.float32(boxes).reshape(-1, 4)
    return list(variants(frame_with(*boxes), xyxy, PICTURE, turn, PAD))


def test_the_picture_is_what_the_bars_leave():
    assert picture_in(frame_with(), PAD) == PICTURE


def test_a_frame_without_bars_is_all_picture():
    assert picture_in(np.zeros((40, 60, 3), np.uint8), PAD) == (0, 0, 60, 40)


def test_a_frame_of_nothing_but_padding_is_all_picture():
    assert picture_in(np.full((40, 60, 3), PAD, np.uint8), PAD) == (0, 0, 60, 40)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((10, 30, 20, 40), True),
        ((0, 30, 20, 40), False),
        ((110, 30, 127, 40), False),
        ((10, 21, 20, 40), False),
        ((10, 90, 20, 107), False),
    ],
)
def test_an_object_at_the_edge_of_the_picture_is_not_whole(box, expected):
    assert whole(np.float32([box]), PICTURE).tolist() == [expected]


def test_cells_are_those_of_the_picture_and_not_of_the_bars():
    boxes = np.float32([[1, 21, 5, 25], [60, 60, 62, 62], [120, 100, 127, 107]])

    assert cells_of(boxes, PICTURE) == [(0, 0), (1, 1), (3, 3)]


@pytest.mark.parametrize("turn", range(5))
def test_an_object_is_moved_into_every_cell(turn):
    box = (40, 50, 56, 62)
    moved = [v for v in all_variants(box, turn=turn) if v.kind == "moved"]

    cells = [cells_of(v.to_here(np.float32([box])), PICTURE)[0] for v in moved]
    assert cells == [(row, column) for row in range(GRID) for column in range(GRID)]
    assert all(whole(v.to_here(np.float32([box])), PICTURE) for v in moved)


@pytest.mark.parametrize("kind", ["as it is", "moved", "zoomed"])
def test_boxes_are_where_the_pixels_went(kind):
    box = (48, 52, 72, 72)
    for variant in (v for v in all_variants(box) if v.kind == kind):
        (expected,) = variant.to_here(np.float32([box]))
        assert white_box(variant.image) == pytest.approx(expected.tolist(), abs=1), variant.name


def test_an_object_too_large_for_a_cell_is_not_moved_there():
    box = (5, 25, 123, 103)
    moved = [v for v in all_variants(box) if v.kind == "moved"]

    cells = {cells_of(v.to_here(np.float32([box])), PICTURE)[0] for v in moved}
    assert cells <= {(1, 1), (1, 2), (2, 1), (2, 2)}


def test_the_smaller_object_goes_where_the_larger_does_not_fit():
    large, small = (10, 25, 110, 100), (112, 30, 118, 36)
    moved = [v for v in all_variants(large, small) if v.kind == "moved"]

    assert len(moved) == GRID * GRID


def test_the_bars_stay_as_they_are():
    for variant in all_variants((40, 50, 56, 62)):
        assert (variant.image[:20] == PAD).all(), variant.name
        assert (variant.image[108:] == PAD).all(), variant.name


@pytest.mark.parametrize("kind", ["dimmed", "blurred", "JPEG"])
def test_what_is_spoilt_stays_in_its_place(kind):
    original = frame_with((40, 50, 56, 62))
    spoilt = [v for v in all_variants((40, 50, 56, 62)) if v.kind == kind]

    assert len(spoilt) == 2
    for variant in spoilt:
        assert variant.to_here(np.float32([[1, 2, 3, 4]])).tolist() == [[1, 2, 3, 4]]
        assert (variant.image != original).any()


def test_the_same_frame_gives_the_same_variants():
    first, second = all_variants((40, 50, 56, 62)), all_variants((40, 50, 56, 62))

    assert all((a.image == b.image).all() for a, b in zip(first, second, strict=True))
