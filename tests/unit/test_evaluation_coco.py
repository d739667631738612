"""Annotations are matched to files and labels by name, or refused with what does not match."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge.detector.bundle import InputSpec
from edge.detector.letterbox import place
from engines.errors import AnnotationsError
from engines.evaluation.average_precision import average_precision
from engines.evaluation.coco import Truth, read
from tests.raw import raw_detections

LABELS = ("person", "dining table")
SPEC = InputSpec(width=64, height=64, letterbox="centered")


def coco(*, files=("a.jpg",), names=LABELS, **changes):
    images = [{"id": i, "file_name": n, "width": 128, "height": 64} for i, n in enumerate(files)]
    objects = [{"id": 1, "image_id": 0, "category_id": 7, "bbox": [10, 20, 30, 40]}]
    categories = [{"id": 7 + i, "name": name} for i, name in enumerate(names)]
    content = {"images": images, "annotations": objects, "categories": categories}
    return content | changes


@pytest.fixture
def given(tmp_path):
    """Return what writes the annotations and image files, and reads them."""

    def read_it(content, files=("photos/a.jpg",), labels=LABELS):
        for name in files:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        file = tmp_path / "labels" / "coco.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return read(file, [tmp_path / "photos"], labels)

    return read_it


def test_a_box_is_in_pixels_of_the_image_and_of_the_input(given):
    (image,) = given(coco())

    truth = image.truth(place((128, 64), SPEC))

    assert truth.xyxy.tolist() == [[10, 20, 40, 60]]
    assert truth.inside.tolist() == [[5, 26, 20, 46]]
    assert (truth.labels.tolist(), truth.crowd.tolist(), truth.levels) == ([0], [False], (None,))


def test_crowds_and_shelf_levels_are_taken_over(given):
    thing = {"id": 1, "image_id": 0, "category_id": 8, "bbox": [0, 0, 9, 9], "iscrowd": 1}

    (image,) = given(coco(annotations=[thing | {"level": 3}]))
    truth = image.truth(place((128, 64), SPEC))

    assert (truth.labels.tolist(), truth.crowd.tolist(), truth.levels) == ([1], [True], (3,))


@pytest.mark.parametrize("names", [("Person", "DINING TABLE"), ("person", "dining_table ")])
def test_labels_are_the_same_in_another_spelling(given, names):
    (image,) = given(coco(names=names))

    assert image.label_of == {7: 0, 8: 1}


def test_the_spelling_counts_where_two_labels_differ_in_nothing_else(given):
    (image,) = given(coco(names=("Box", "box")), labels=("box", "Box"))

    assert image.label_of == {7: 1, 8: 0}


def test_labels_that_the_model_has_not_are_left_out_and_said_so(given, caplog):
    (image,) = given(coco(names=("zebra", "person")))

    assert (image.objects, image.label_of) == ((), {8: 0})
    assert "the model has no label zebra" in caplog.text


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        ("a.jpg", ["photos/deep/a.jpg"], "photos/deep/a.jpg"),
        ("two/a.jpg", ["photos/one/a.jpg", "photos/two/a.jpg"], "photos/two/a.jpg"),
        ("C:\\export\\two\\a.jpg", ["photos/one/a.jpg", "photos/two/a.jpg"], "photos/two/a.jpg"),
        ("a.jpg", ["labels/a.jpg"], "labels/a.jpg"),
    ],
)
def test_images_are_found_by_the_end_of_their_path(given, tmp_path, name, files, found):
    (image,) = given(coco(files=(name,)), files)

    assert image.path == (tmp_path / found).resolve()


def test_missing_images_are_counted(given, caplog):
    assert len(given(coco(files=("a.jpg", "b.jpg")))) == 1
    assert "1 of 2 images were not found, first b.jpg" in caplog.text


@pytest.mark.parametrize(
    ("content", "files", "said"),
    [
        ("{", ["photos/a.jpg"], "cannot be read"),
        ("[]", ["photos/a.jpg"], "expected COCO JSON with the lists images, annotations, categor"),
        ("[" * 100_000, ["photos/a.jpg"], "cannot be read"),
        (coco(images=[{"id": 1}]), ["photos/a.jpg"], "an image without id or file_name"),
        (coco(images=[{"id": [], "file_name": "a.jpg"}]), ["photos/a.jpg"], "an image without id"),
        (
            coco(images=[{"id": 1, "file_name": "a.jpg", "width": "x", "height": 64}]),
            ["photos/a.jpg"],
            "image 1: expected width and height in pixels",
        ),
        (coco(categories=["person"]), ["photos/a.jpg"], "a category without id or name: person"),
        (coco(categories=[{"name": "person"}]), ["photos/a.jpg"], "a category without id or name"),
        (
            coco(annotations=[{"image_id": 0, "category_id": [7], "bbox": [1, 2, 3, 4]}]),
            ["photos/a.jpg"],
            "an annotation without image_id, category_id",
        ),
        (coco(annotations=[{"id": 3}]), ["photos/a.jpg"], "an annotation without image_id"),
        (
            coco(annotations=[{"id": 3, "image_id": 0, "category_id": 7, "bbox": [1, 2, 3]}]),
            ["photos/a.jpg"],
            r"annotation 3: expected bbox \[x, y, width, height\], found \[1, 2, 3\]",
        ),
        (
            coco(annotations=[{"id": 3, "image_id": 0, "category_id": 7, "bbox": [1, 2, 3, "x"]}]),
            ["photos/a.jpg"],
            "annotation 3: expected a bbox of numbers",
        ),
        (
            coco(names=("zebra", "gnu")),
            ["photos/a.jpg"],
            r"none of its labels \(zebra, gnu\) is a label of the model \(person, dining table\)",
        ),
        (coco(), ["photos/b.jpg"], "none of its 1 images was found, first a.jpg"),
        (coco(), ["photos/1/a.jpg", "photos/2/a.jpg"], r"a.jpg may be .*1/a.jpg or .*2/a.jpg"),
    ],
)
def test_what_cannot_be_used_is_refused(given, content, files, said):
    with pytest.raises(AnnotationsError, match=said) as refused:
        given(content, files)

    assert refused.value.exit_code == 3
    assert refused.value.hint


def test_images_that_were_given_come_before_those_beside_the_annotations(given, tmp_path):
    (image,) = given(coco(), ["photos/a.jpg", "labels/other/a.jpg"])

    assert image.path == tmp_path / "photos" / "a.jpg"


@pytest.mark.parametrize("size", [{}, {"width": None, "height": 64}, {"width": 0, "height": 64}])
def test_a_size_may_be_left_out(given, size):
    (image,) = given(coco(images=[{"id": 0, "file_name": "a.jpg"} | size]))

    assert image.size_wh == (0, 0)


def truth(boxes, labels, crowd=None):
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    crowds = np.array(crowd or [False] * len(boxes), bool)
    placement = place((128, 64), SPEC)
    return Truth("a", placement, boxes, np.array(labels, np.int32), crowds, (None,) * len(boxes))


def seen(*boxes):
    """Return detections of (xyxy in image pixels, score, label)."""
    return raw_detections(
        [
            (truth([xyxy], [0]).inside[0] if len(xyxy) else xyxy, score, label)
            for xyxy, score, label in boxes
        ]
    )


FIRST, SECOND = (10, 20, 40, 60), (60, 20, 90, 60)


def test_a_perfect_detector_scores_1():
    found = average_precision(
        [truth([FIRST, SECOND], [0, 1])], seen((FIRST, 0.9, 0), (SECOND, 0.3, 1)), [0]
    )

    assert (found.map, found.ap50) == pytest.approx((1, 1))
    assert (found.objects, found.images) == (2, 1)
    assert found.curve == pytest.approx(np.ones(101))


def test_precision_is_as_pycocotools_defines_it():
    # Of two objects one is found, behind a false alarm: precision 1/2 up to recall 1/2, then 0.
    found = average_precision(
        [truth([FIRST, SECOND], [0, 0])], seen(((100, 0, 120, 10), 0.9, 0), (FIRST, 0.8, 0)), [0]
    )

    assert found.ap50 == pytest.approx(51 / 101 / 2)


def test_the_label_counts():
    found = average_precision([truth([FIRST], [0])], seen((FIRST, 0.9, 1)), [0])

    assert found.ap50 == 0


def test_a_detector_that_finds_nothing_scores_0():
    assert average_precision([truth([FIRST], [0])], raw_detections([]), [0]).ap50 == 0


def test_crowds_are_no_objects():
    assert average_precision([truth([FIRST], [0], [True])], raw_detections([]), [0]) is None


def test_it_prints_nothing(capsys):
    average_precision([truth([FIRST], [0])], seen((FIRST, 0.9, 0)), [0])

    assert capsys.readouterr() == ("", "")
