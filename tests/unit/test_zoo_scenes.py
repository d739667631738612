"""What the built-in detectors are trained and judged on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from edge.capture.shelf_world.splits import Split
from engines.errors import ImagesError
from engines.zoo import scenes


def test_no_building_is_both_learned_from_and_judged_on():
    def seeds(part):
        return set(range(part.first_seed, part.first_seed + part.buildings))

    learned = set().union(*(seeds(part) for part in scenes.TRAIN))
    assert not learned & seeds(scenes.HELD_OUT)


def test_each_frame_has_the_view_of_its_building():
    views = scenes.views(scenes.HELD_OUT)

    assert views[12:16] == ("mast",) * 4
    assert views[24:28] == ("aisle",) * 4
    assert Counter(views) == {"shelf": 192, "mast": 32, "aisle": 32}


SMALL = scenes.Scenes(9, 1, 1, Split.TRAIN, views=("shelf",))


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    scenes.draw(SMALL, folder, 1, lambda *_: None)
    return folder


@pytest.mark.needs("cv2")
def test_scenes_are_drawn_once(drawn):
    shown = []

    scenes.draw(SMALL, drawn, 1, lambda *at: shown.append(at))

    assert shown == []
    assert np.load(drawn / scenes.FRAMES).shape == (1, 360, 640, 3)


@pytest.mark.needs("cv2")
def test_other_scenes_are_not_taken_for_these(drawn):
    with pytest.raises(ImagesError, match=r"expected .*11.*, found .*9.*; remove the folder"):
        scenes.draw(replace(SMALL, first_seed=11), drawn, 1, lambda *_: None)


@pytest.mark.needs("cv2")
def test_what_was_left_unfinished_is_drawn_anew(drawn):
    (drawn / scenes.DRAWN).unlink()
    (drawn / scenes.ANNOTATIONS).write_text('{"images": [')

    scenes.draw(SMALL, drawn, 1, lambda *_: None)

    assert (drawn / scenes.ANNOTATIONS).read_text().endswith("}]}")
