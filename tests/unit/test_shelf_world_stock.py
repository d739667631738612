"""Goods are taken and filled up again, for ever, the same from the same seed."""

import numpy as np
import pytest

from edge.capture.shelf_world.painter import Spot
from edge.capture.shelf_world.rack import Rack
from edge.capture.shelf_world.stock import Block, Item, Timeline

ACROSS = tuple(np.eye(3)[i] for i in (0, 1))
RACK = Rack("07", np.zeros(3), *ACROSS, 1, 1.3, (0.1, 0.6), 1.1, 0.8)


def block(places=12, *, lasting=False, number=1):
    items = tuple(Item(Spot(RACK, (0.1 * n, 0.1, 0.1)), 0, 0) for n in range(places))
    return Block(number, 0, 0, None, items, lasting)


TIMES = np.arange(0, 600, 0.5)


def counts(timeline):
    return [timeline.count(float(time)) for time in TIMES]


def test_stock_falls_and_is_filled_up_again():
    seen = counts(Timeline(3, block(), 60.0))
    steps = np.diff(seen)
    assert (steps < 0).any()
    assert (steps > 0).any()
    assert max(seen) == 12
    assert min(seen) >= 0


def test_the_past_can_be_asked_for_after_the_future():
    forward, backward = Timeline(3, block(), 60.0), Timeline(3, block(), 60.0)
    assert counts(forward) == [backward.count(float(time)) for time in TIMES[::-1]][::-1]


@pytest.mark.parametrize("other", [Timeline(4, block(), 60.0), Timeline(3, block(number=2), 60.0)])
def test_another_seed_or_block_lives_another_life(other):
    assert counts(Timeline(3, block(), 60.0)) != counts(other)


def test_what_others_stand_on_is_never_taken():
    assert set(counts(Timeline(3, block(2, lasting=True), 60.0))) == {2}


def test_a_cycle_is_about_as_long_as_asked_for():
    fills = [
        np.count_nonzero(np.diff(counts(Timeline(seed, block(), cycle))) > 0)
        for cycle in (30.0, 120.0)
        for seed in range(8)
    ]
    assert 2.5 < sum(fills[:8]) / sum(fills[8:]) < 6.0
