"""Which frames are looked at, how many that is, and when a camera is tried again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.pacing import Backoff, Budget, Rate


@pytest.mark.parametrize(
    ("source_fps", "fps", "looked_at_in_10_s"),
    [(30, 5, 50), (30, 30, 300), (25, 10, 100), (10, 10, 100), (10, 30, 100), (29.97, 1, 10)],
)
def test_a_budget_is_spent_and_not_overspent(source_fps, fps, looked_at_in_10_s):
    budget = Budget(fps)
    times = [n / source_fps for n in range(round(10 * source_fps))]

    assert sum(map(budget.due, times)) == looked_at_in_10_s


def test_a_budget_is_spread_evenly():
    budget = Budget(5)
    looked = [n for n in range(60) if budget.due(n / 30)]

    assert looked == list(range(0, 60, 6))


def test_a_budget_is_kept_although_frames_come_late():
    budget = Budget(5)
    looked = [n for n in range(300) if budget.due(n / 30 + 0.02 * (n % 3))]

    assert len(looked) == pytest.approx(50, abs=1)


def test_a_gap_is_not_made_up_for():
    budget = Budget(5)
    before = [budget.due(n / 30) for n in range(30)]
    after = [budget.due(100 + n / 30) for n in range(30)]

    assert sum(before) == sum(after) == 5


def test_a_recording_that_starts_over_is_looked_at_again():
    budget = Budget(1)
    assert budget.due(500.0)

    assert budget.due(0.0)


@given(st.lists(st.floats(0, 0.5), min_size=1, max_size=200), st.floats(0.5, 60))
def test_never_more_than_the_budget_however_frames_come(gaps, fps):
    budget = Budget(fps)
    time_s, looked = 0.0, 0
    for gap in gaps:
        time_s += gap
        looked += budget.due(time_s)

    # One for the first frame, and one for each time that the grid was begun anew.
    assert looked <= 2 + time_s * fps * 1.01 + 0.01 * len(gaps)


def test_a_budget_of_nothing_is_a_mistake():
    with pytest.raises(ValueError, match="expected > 0"):
        Budget(0)


@pytest.mark.parametrize("fps", [0.5, 1, 5, 30])
def test_a_rate_is_what_came_in_the_last_seconds(fps):
    rate = Rate(5.0)
    last = 0.0
    for n in range(int(20 * fps)):
        last = n / fps
        rate.tick(last)

    assert rate.per_second(last) == pytest.approx(fps, rel=0.01)


def test_a_rate_falls_to_nothing_when_nothing_comes():
    rate = Rate(5.0)
    for n in range(50):
        rate.tick(n / 10)

    assert rate.per_second(7.4) == pytest.approx(5, abs=1)
    assert rate.per_second(15) == 0


def test_a_rate_of_one_event_is_not_known():
    rate = Rate(5.0)
    rate.tick(1.0)

    assert rate.per_second(1.0) == 0


def test_delays_double_up_to_the_limit_and_are_jittered_downwards():
    backoff = Backoff(0.5, 30)
    delays = [backoff.next() for _ in range(20)]

    for n, delay in enumerate(delays):
        limit = min(30, 0.5 * 2**n)
        assert limit / 2 <= delay <= limit


def test_two_cameras_do_not_come_back_together():
    assert Backoff(10, 10).next() != Backoff(10, 10).next()


def test_a_camera_that_works_again_starts_over():
    backoff = Backoff(0.5, 30)
    for _ in range(10):
        backoff.next()
    backoff.reset()

    assert backoff.next() <= 0.5
