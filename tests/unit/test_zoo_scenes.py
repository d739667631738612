"""What the built-in detectors are trained and judged on."""

from __future__ import annotations

from collections import Counter

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
