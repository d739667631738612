"""What the built-in detectors are told to say: which boxes are things, and how far off they are."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'aisle-edge[train]'")

from engines.zoo import faster_rcnn_loss as taught  # noqa: E402
from engines.zoo import recipes  # noqa: E402
from engines.zoo.dataset import Dataset  # noqa: E402
from engines.zoo.scenes import ANNOTATIONS, FRAMES  # noqa: E402
from engines.zoo.yolo_loss import (  # noqa: E402
    Truth,
    assign,
    complete_iou,
    crowded,
    iou,
    owners,
)

NONE = torch.zeros(0, 4)


def _truth(*boxes, ignored=NONE):
    return Truth(torch.tensor(boxes), torch.zeros(len(boxes), dtype=torch.long), ignored)


@pytest.mark.parametrize(
    ("anchor", "kind"),
    [
        ((0.0, 0.0, 10.0, 8.0), 1),  # IoU 0.8
        ((0.0, 0.0, 10.0, 4.0), -1),  # 0.4: neither
        ((0.0, 0.0, 10.0, 2.0), 0),  # 0.2
        ((50.0, 50.0, 60.0, 60.0), 0),
    ],
)
def test_an_anchor_holds_a_thing_by_its_overlap(anchor, kind):
    exact = (0.0, 0.0, 10.0, 10.0)

    kinds, _ = taught._anchor_kinds(torch.tensor([exact, anchor]), _truth(exact))

    assert kinds.tolist() == [1, kind]


def test_the_best_anchor_of_a_thing_learns_it_however_little_it_overlaps():
    anchors = torch.tensor([[0.0, 0.0, 10.0, 2.0], [0.0, 0.0, 10.0, 1.0]])

    kinds, owner = taught._anchor_kinds(
        anchors, _truth((50.0, 50.0, 60.0, 60.0), (0.0, 0.0, 10.0, 10.0))
    )

    assert kinds.tolist() == [1, 0]
    assert owner[0] == 1


def test_an_anchor_on_what_is_ignored_is_no_background():
    anchors = torch.tensor([[20.0, 20.0, 30.0, 30.0], [50.0, 50.0, 60.0, 60.0]])

    kinds, _ = taught._anchor_kinds(anchors, _truth((0.0, 0.0, 10.0, 10.0), ignored=anchors[:1]))

    assert kinds.tolist() == [-1, 0]


PLAIN = (1.0, 1.0, 1.0, 1.0)


def test_a_right_correction_costs_nothing():
    boxes, targets = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([[2.0, -1.0, 14.0, 18.0]])
    right, weights = taught.encode(boxes, targets), (10.0, 10.0, 5.0, 5.0)

    assert taught._box_loss(boxes, right, targets, PLAIN, 1.0) == pytest.approx(0, abs=1e-5)
    weighed = right * torch.tensor(weights)
    assert taught._box_loss(boxes, weighed, targets, weights, 1.0) == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("off", [(1.0, 0.0, 0.0, 0.0), (0.0, 0.0, 0.0, -1.0)])
def test_a_correction_costs_more_the_further_it_is_off(off):
    boxes, shift = torch.tensor([[0.0, 0.0, 10.0, 20.0]]), torch.tensor([off])

    little, much = (taught._box_loss(boxes, shift * far, boxes, PLAIN, 1.0) for far in (0.05, 0.1))

    assert 0 < little < much


def test_true_boxes_are_shaken_before_they_are_proposed():
    exact = torch.tensor([[10.0, 10.0, 50.0, 90.0]]).repeat(200, 1)
    torch.manual_seed(0)

    overlap = torch.diagonal(iou(exact[:, None], taught.shaken(exact)[None]))

    assert overlap.max() < 1
    assert 0.7 < overlap.median() < 0.9
    assert (overlap > 0.5).float().mean() > 0.95


def test_complete_iou_tells_boxes_apart_that_overlap_alike():
    one = torch.tensor([[0.0, 0.0, 10.0, 10.0]] * 3)
    # Not at all, near and far; and half, side by side.
    other = torch.tensor([[12.0, 0.0, 22.0, 10.0], [40.0, 0.0, 50.0, 10.0], [0.0, 0.0, 10.0, 10.0]])

    near, far, same = complete_iou(one, other).tolist()

    assert iou(one, other).tolist() == pytest.approx([0, 0, 1])
    assert far < near < 0
    assert same == pytest.approx(1)


@pytest.mark.needs("cv2")
def test_at_the_end_frames_are_shown_nearly_as_they_are(tmp_path):
    np.save(tmp_path / FRAMES, np.zeros((1, 64, 96, 3), np.uint8))
    thing = {"image_id": 0, "category_id": 1, "bbox": [24, 16, 48, 32]}
    images = [{"id": 0, "width": 96, "height": 64, "file_name": "0"}]
    coco = {"images": images, "categories": [{"id": 1, "name": "box"}], "annotations": [thing]}
    (tmp_path / ANNOTATIONS).write_text(json.dumps(coco))
    batches = recipes.Batches(Dataset([tmp_path]), 16, recipes.settling((96, 64), 70))

    def widths(step):
        _, truths = batches(step, (96, 64), np.random.default_rng(step))
        return torch.cat([one.boxes[:, 2] - one.boxes[:, 0] for one in truths])

    assert (widths(69) - 48).abs().max() > 48 * 0.15
    assert (widths(70) - 48).abs().max() < 48 * 0.15


def test_a_cell_goes_to_the_thing_that_wants_it_most():
    assert owners(torch.tensor([[0.9, 0.2, 0.0], [0.5, 0.6, 0.0]])).tolist()[:2] == [0, 1]


def test_a_thing_behind_another_keeps_one_cell():
    front, behind = [0.9, 0.8, 0.7], [0.3, 0.5, 0.0]

    assert owners(torch.tensor([front, behind])).tolist() == [0, 1, 0]


def test_the_last_cell_of_a_thing_is_not_taken_from_it():
    assert owners(torch.tensor([[0.9, 0.0], [0.3, 0.0], [0.0, 0.5]])).tolist() == [0, 2]


def test_things_are_crowded_where_another_one_overlaps_them_much():
    boxes = [[0.0, 0.0, 10.0, 10.0], [4.0, 0.0, 14.0, 10.0], [13.0, 0.0, 23.0, 10.0]]

    assert crowded(torch.tensor(boxes)).tolist() == [True, True, False]


def test_crowded_things_count_more_and_what_is_ignored_does_not_count():
    alone, front, behind = (8.0, 8.0, 24.0, 24.0), (40.0, 8.0, 56.0, 24.0), (44.0, 8.0, 60.0, 24.0)
    middle = torch.tensor([[x, 16.0] for x in (16.0, 46.0, 54.0, 80.0, 112.0)])
    truth = _truth(alone, front, behind, ignored=torch.tensor([[72.0, 8.0, 88.0, 24.0]]))
    said = torch.tensor([alone, front, behind, alone, alone])

    found = assign(said, torch.full((5, 1), 0.5), truth, middle, torch.full((5,), 8.0))

    assert found.positive.tolist() == [True, True, True, False, False]
    assert found.weights.tolist() == [1.0, 2.0, 2.0, 0.0, 1.0]
    assert found.boxes[:3].tolist() == [list(alone), list(front), list(behind)]
