"""Where a moving camera is at any time."""

import itertools

import pytest

from edge.capture.shelf_world.route import pose_at

WAYS = (1.3, 1.3, None)


@pytest.mark.parametrize(
    ("time", "station"), [(0.0, 0), (5.9, 0), (7.3, 1), (13.1, 1), (14.5, 2), (21.7, 0), (43.3, 0)]
)
def test_it_stands_before_one_bay_after_the_other_and_begins_again(time, station):
    pose = pose_at(time, WAYS)
    assert (pose.station, pose.offset_m, pose.speed_m_s) == (station, 0.0, 0.0)


def test_it_drives_from_bay_to_bay_without_a_jump():
    seen = [pose_at(6.0 + 0.01 * step, WAYS) for step in range(121)]
    places = [pose.station * 1.3 + pose.offset_m for pose in seen]
    steps = [after - before for before, after in itertools.pairwise(places)]
    assert places[0] == 0.0
    assert places[-1] == pytest.approx(1.3)
    assert all(0 <= step < 0.02 for step in steps)


def test_it_is_never_further_than_half_way_from_its_station():
    offsets = [abs(pose_at(0.05 * step, WAYS).offset_m) for step in range(1000)]
    assert 0.6 < max(offsets) <= 0.65


def test_a_way_that_is_not_shown_is_a_cut():
    assert pose_at(20.9, WAYS).station == 2
    assert pose_at(21.1, WAYS).station == 0
    assert {pose_at(14.4 + 0.1 * step, WAYS).offset_m for step in range(72)} == {0.0}
