"""The location experiment is fair: its arms differ in where things stand and in nothing else."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch: pip install 'aisle-edge[train]'")

from edge.capture.shelf_world.splits import GRID, LABELS, Locations  # noqa: E402
from engines.zoo import location  # noqa: E402
from engines.zoo.dataset import Frame, jittered  # noqa: E402

LAB, ALL = location.PICTURES["lab"], location.PICTURES["all"]


def _seeds(scenes):
    return set(range(scenes.first_seed, scenes.first_seed + scenes.buildings))


def _folder(folder, count=2):
    (folder / "images").mkdir(parents=True)
    box = {"bbox": [40, 40, 120, 80], "category_id": 1}
    names = [f"{number}.png" for number in range(count)]
    for name in names:
        cv2.imwrite(str(folder / "images" / name), np.full((360, 640, 3), 90, np.uint8))
    coco = {
        "images": [{"id": number, "file_name": name} for number, name in enumerate(names)],
        "categories": [{"id": n, "name": label} for n, label in enumerate(LABELS, 1)],
        "annotations": [{"id": n + 1, "image_id": n, **box} for n in range(count)],
    }
    (folder / "annotations.json").write_text(json.dumps(coco))


def test_the_arms_see_the_same_buildings_but_for_where_things_stand():
    assert replace(LAB, locations=Locations.ALL) == ALL


@pytest.mark.parametrize("where", ["seen", "unseen"])
def test_the_pictures_measured_on_share_no_building_and_no_style_with_training(where):
    measured_on = location.PICTURES[where]
    assert not _seeds(measured_on) & _seeds(ALL)
    assert measured_on.style is not ALL.style


@pytest.mark.parametrize("seed", range(4))
def test_training_leaves_things_in_their_cell(seed):
    boxes = np.array([[300, 100, 340, 140]], np.float32)
    image = np.zeros((360, 640, 3), np.uint8)
    frame = Frame(image, boxes, np.array([0]), np.array([False]))
    sample = jittered(frame, location.SIZE_WH, location.STILL, np.random.default_rng(seed))
    middle = (sample.boxes[0, :2] + sample.boxes[0, 2:]) / 2 / location.SIZE_WH
    there = (boxes[0, :2] + boxes[0, 2:]) / 2 / (640, 360)
    assert np.abs(middle - there).max() * max(GRID) < 0.1


def test_training_an_arm_leaves_a_model_and_goes_on_where_it_stopped(tmp_path):
    _folder(tmp_path / "data" / "lab")
    location.train(tmp_path, "lab", steps=2, batch=1)
    first = (tmp_path / "lab" / location.MODEL).read_bytes()
    location.train(tmp_path, "lab", steps=2, batch=1)
    assert (tmp_path / "lab" / location.MODEL).read_bytes() == first
