"""Which aisle a moving camera is in: it does not flicker, it switches soon, it admits doubt."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.aisles.smoothing import BELIEVED, FULL_S, AisleFilter

AISLES = st.integers(1, 20)
HOLD_S = st.floats(0.5, 60)
GAP_S = st.floats(FULL_S, 1.0)


def showing(aisle, aisles):
    """Return the likelihood of a frame that clearly shows one aisle; `aisles` itself: none."""
    likelihood = np.zeros(aisles + 1)
    likelihood[aisle] = 1
    return likelihood


def nothing(aisles):
    return np.ones(aisles + 1)


class Drive:
    """A filter and a clock."""

    def __init__(self, aisles=3, hold_s=3.0, gap_s=0.2):
        self.filter, self.aisles, self.gap_s, self.clock = (
            AisleFilter(aisles, hold_s),
            aisles,
            gap_s,
            0.0,
        )

    def see(self, *aisles):
        found = []
        for aisle in aisles:
            self.clock += self.gap_s
            likelihood = nothing(self.aisles) if aisle is None else showing(aisle, self.aisles)
            found.append(self.filter.see(self.clock, likelihood))
        return found


def test_before_any_sign_nobody_can_tell():
    assert Drive().see(None, None, None) == [None, None, None]


@given(AISLES, HOLD_S, GAP_S, st.data())
def test_clear_frames_of_another_aisle_switch_to_it_by_the_fifth(aisles, hold_s, gap_s, data):
    here, there = data.draw(st.integers(0, aisles - 1)), data.draw(st.integers(0, aisles))
    drive = Drive(aisles, hold_s, gap_s)
    drive.see(*[here] * 50)

    assert drive.see(*[there] * 5)[-1] == (None if there == aisles else there)


@given(AISLES, HOLD_S, GAP_S, st.data())
def test_it_never_switches_to_another_aisle_on_one_frame(aisles, hold_s, gap_s, data):
    here, there = data.draw(st.integers(0, aisles - 1)), data.draw(st.integers(0, aisles))
    drive = Drive(aisles, hold_s, gap_s)
    drive.see(*[here] * 50)

    assert drive.see(there)[0] in {here, None}


@given(AISLES, st.lists(st.integers(0, 20), max_size=60))
def test_a_misread_frame_is_forgotten_with_the_next(aisles, misread):
    drive = Drive(aisles)
    drive.see(*[0] * 10)

    for wrong in misread:
        assert drive.see(wrong % (aisles + 1))[0] in {0, None}
        assert drive.see(0, 0, 0) == [0, 0, 0]


@given(AISLES, HOLD_S)
def test_an_aisle_is_held_for_its_time_without_a_sign_and_no_longer(aisles, hold_s):
    tracked = AisleFilter(aisles, hold_s)
    tracked.belief = showing(0, aisles)  # certain
    tracked.see(0.0, nothing(aisles))
    tracked.belief = showing(0, aisles)

    assert tracked.see(hold_s * 0.99, nothing(aisles)) == 0
    assert tracked.see(hold_s * 1.01, nothing(aisles)) is None


@given(AISLES, HOLD_S, st.lists(st.floats(0, 10), min_size=1, max_size=20))
def test_without_signs_only_the_time_that_passed_counts(aisles, hold_s, gaps):
    often, once = AisleFilter(aisles, hold_s), AisleFilter(aisles, hold_s)
    for tracked in (often, once):
        for frame in range(5):
            tracked.see(frame, showing(0, aisles))
    clock = 4.0
    for gap in gaps:
        clock += gap
        often.see(clock, nothing(aisles))
    once.see(clock, nothing(aisles))

    assert often.belief == pytest.approx(once.belief, abs=1e-9)


@given(
    AISLES,
    st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20), st.floats(1e-6, 1)), max_size=50),
)
def test_the_belief_is_a_distribution_whatever_comes(aisles, frames):
    tracked, clock = AisleFilter(aisles, 3.0), 0.0
    for gap, aisle, strength in frames:
        clock += gap
        likelihood = np.full(aisles + 1, strength)
        likelihood[aisle % (aisles + 1)] = 1
        tracked.see(clock, likelihood)

        assert tracked.belief.sum() == pytest.approx(1)
        assert tracked.belief.min() > 0


@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=30))
def test_no_aisle_is_preferred(order, frames):
    drive, renamed = Drive(4), Drive(4)
    found = drive.see(*frames)

    assert renamed.see(*(order[aisle] for aisle in frames)) == [
        None if aisle is None else order[aisle] for aisle in found
    ]


@pytest.mark.parametrize("fps", [5, 10, 30, 120])
def test_more_frames_a_second_do_not_decide_sooner(fps):
    drive = Drive(gap_s=1 / fps)
    drive.see(*[0] * 10 * fps)

    switched = drive.see(*[1] * fps).index(1) / fps

    assert 0.35 <= switched <= 0.8


def test_two_aisles_seen_alike_are_neither():
    drive = Drive(2)
    both = np.array([1.0, 1.0, 0.0])

    assert [drive.filter.see(t, both) for t in (0.2, 0.4, 0.6, 0.8)] == [None] * 4


def test_a_frame_of_no_aisle_is_taken_for_no_aisle():
    drive = Drive()
    drive.see(*[1] * 20)

    assert drive.see(*[3] * 6)[-1] is None
    assert drive.filter.belief[3] >= BELIEVED


@pytest.mark.parametrize("wrong", [np.ones(3), np.zeros(4), np.full(4, np.nan)])
def test_likelihoods_of_another_shape_or_all_zero_are_a_mistake(wrong):
    with pytest.raises(ValueError, match="expected 4 likelihoods"):
        AisleFilter(3, 3.0).see(0.0, wrong)
