"""Histograms, scales and ranges: what 8 bits may do to numbers, and what they may not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.fold import fold
from calibration.histogram import Histogram
from calibration.observe import observe
from calibration.ranges import identity, search, silu
from calibration.scales import Scale, symmetric, unsigned, weights
from tests.calibration_network import frames, network

# What is smaller than any bin is 0 to a histogram.
finite = st.floats(-1e6, 1e6, allow_nan=False, allow_subnormal=False, width=32)


# --- histograms: every value counts, in whatever chunks it comes


@given(st.lists(finite, min_size=1, max_size=200), st.integers(1, 20))
def test_chunks_do_not_change_a_histogram(values, size):
    whole, chunked = Histogram(), Histogram()
    array = np.float32(values)
    whole.add(array)
    for start in range(0, len(array), size):
        chunked.add(array[start : start + size])
    assert (whole.counts == chunked.counts).all()
    assert (whole.low, whole.high, whole.exponent) == (chunked.low, chunked.high, chunked.exponent)
    assert whole.total == len(values)


@given(st.lists(finite, min_size=1, max_size=300), st.floats(0.01, 1))
def test_quantiles_are_numpys_to_within_a_bin(values, q):
    histogram = Histogram()
    histogram.add(np.float32(values))
    expected = np.quantile(np.float32(values), q, method="inverted_cdf")
    assert histogram.quantile(q) == pytest.approx(float(expected), abs=2 * histogram.width)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    with pytest.raises(ValueError, match="finite"):
        Histogram().add(np.float32([1, bad]))


# --- frames: as many as it takes


def seen(pictures):
    told = []
    found, used = observe(fold(network()), ["c1", "s2"], pictures, told.append)
    return found, used, told


def test_frames_that_show_nothing_new_are_not_waited_for():
    _, used, told = seen(frames(3) * 40)
    assert used == 48
    assert told[-1] == 120


def test_frames_that_go_on_to_differ_are_all_looked_at():
    bright = [(picture * (0.98**n)).astype(np.uint8) for n, picture in enumerate(frames(64))]
    order = np.argsort([(i * (5**0.5 - 1) / 2) % 1 for i in range(64)])
    pictures = [None] * 64
    for place, picture in zip(order, reversed(bright), strict=True):  # each brighter than before
        pictures[place] = picture
    assert seen(pictures)[1] == 64


def test_few_frames_are_all_looked_at():
    assert seen(frames(20))[1] == 20


# --- scales: zero is exact, order is kept, the error is half a step


@given(finite, finite)
def test_zero_is_exact_and_the_ends_are_nearly_reached(a, b):
    low, high = min(a, b), max(a, b)
    scale = unsigned(low, high)
    assert scale.round_trip(np.zeros(1))[0] == 0
    ends = np.array([min(low, 0), max(high, 0)])
    assert np.abs(scale.round_trip(ends) - ends).max() <= 1.01 * scale.scale


@given(st.lists(finite, min_size=2, max_size=50), finite, finite)
def test_quantisation_keeps_order(values, a, b):
    ordered = unsigned(min(a, b), max(a, b)).round_trip(np.sort(np.array(values)))
    assert (np.diff(ordered) >= 0).all()


def test_symmetric_scales_have_zero_point_zero():
    scale = symmetric(-1, 2)
    assert (scale.zero_point, scale.signed, scale.scale) == (0, True, pytest.approx(2 / 127))


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_a_scale_is_finite_and_above_zero(scale):
    with pytest.raises(ValueError, match=r"Scale\.scale"):
        Scale(scale, 0)


def test_weights_are_written_per_channel():
    values = np.float32([[100, -50], [0.01, 0.005]])
    found = weights(values, np.zeros(2, np.float32), 1.0)
    half_a_step = np.array([[100], [0.01]]) / 127 / 2
    assert (np.abs(found.restored() - values) <= 1.001 * half_a_step).all()


# --- the range search


def bell(size=20000, scale=1.0):
    histogram = Histogram()
    histogram.add(np.random.default_rng(0).normal(0, scale, size).astype(np.float32))
    return histogram


def test_a_rare_outlier_does_not_cost_everybody_else_their_resolution():
    histogram = bell(1_000_000)
    histogram.add(np.float32([20.0]))
    assert search(histogram).scale < 0.7 * (20 + 5) / 255


def test_what_silu_flattens_gets_no_steps():
    histogram = bell(scale=10.0)
    plain, behind = search(histogram, identity), search(histogram, silu)
    assert behind.zero_point < plain.zero_point / 2
    assert behind.scale < plain.scale


def test_an_empty_range_is_a_scale_too():
    histogram = Histogram()
    histogram.add(np.zeros(5, np.float32))
    assert search(histogram).round_trip(np.zeros(1))[0] == 0


def test_a_tiny_channel_leaves_its_bias_within_32_bits():
    found = weights(np.full((1, 1, 1, 1), 1e-20, np.float32), np.float32([5.0]), 1e-4)
    assert abs(5.0 / (float(found.scales[0]) * 1e-4)) < 2**31


@given(st.lists(finite, min_size=1, max_size=50), st.lists(finite, min_size=1, max_size=50))
def test_merging_histograms_is_counting_all_their_values(first, second):
    apart, together = Histogram(), Histogram()
    apart.add(np.float32(first))
    other = Histogram()
    other.add(np.float32(second))
    apart.merge(other)
    together.add(np.float32(first + second))
    assert (apart.counts == together.counts).all()
    assert apart.exponent == together.exponent
