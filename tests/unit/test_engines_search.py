"""The search keeps few multiplications in float, and only as many as the budget asks for."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.search.layers import LARGEST_SHARE, MOST_TRIED, Candidate, Search, ranked


def candidate(name, effect, share=0.05, **takes):
    return Candidate(name, 0.001, effect, {name: share, **takes})


def candidates(*effects, share=0.05):
    """Return layers a, b, c … of these effects."""
    return [candidate(chr(ord("a") + index), effect, share) for index, effect in enumerate(effects)]


def squares(found, factor=1.0):
    """Return what uses up the root of the effects of all layers in INT8."""
    return lambda names: factor * math.sqrt(sum(x.effect for x in found if x.name not in names))


def run(found, measure, calls=None):
    search = Search("model.onnx", found)
    calls = [] if calls is None else calls
    calls.append(search.names)
    while search.step(measure(search.names)):
        calls.append(search.names)
    return search.found()


@pytest.mark.parametrize(
    ("factor", "kept"), [(1.0, "c"), (1.2, "ac"), (1.5, "abc"), (2.0, "abcd"), (3.5, "abcde")]
)
def test_the_layers_that_lose_most_stay_in_float(factor, kept):
    layers = candidates(0.26, 0.2, 0.45, 0.15, 0.1)

    found = run(layers, squares(layers, factor))

    assert "".join(sorted(found.names)) == kept
    assert found.use <= 1


def test_two_encodings_tell_where_the_limit_holds():
    layers = candidates(*[0.2] * 20, share=0.01)
    calls = []

    found = run(layers, squares(layers), calls)

    assert [len(names) for names in calls] == [0, 16]
    assert found.tried == 2
    assert 0.85 < found.use <= 0.95


def test_the_layer_that_spares_most_for_its_multiplications_comes_first():
    small, large = candidate("small", 0.1, share=0.01), candidate("large", 0.5, share=0.2)

    assert [layer.name for layer in ranked([large, small])] == ["small", "large"]


def test_what_another_layer_takes_along_costs_nothing_more():
    first = candidate("first", 1.0, share=0.01, stem=0.2)
    stem, other = candidate("stem", 0.3, share=0.2), candidate("other", 0.02, share=0.01)
    layers = [stem, other, first]

    assert [layer.name for layer in ranked(layers)] == ["first", "stem", "other"]
    kept = run(layers, squares(layers, 50)).layers
    assert {layer.name: round(layer.share, 9) for layer in kept} == {
        "first": 0.21, "stem": 0, "other": 0.01,
    }  # fmt: skip


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.floats(0.005, 0.06)), min_size=1, max_size=8),
    st.floats(1.01, 20),
)
def test_where_squares_add_up_at_most_two_layers_more_than_the_optimum_stay(drawn, factor):
    found = [candidate(f"l{n}", effect, share) for n, (effect, share) in enumerate(drawn)]
    use = squares(found, factor / squares(found)(()))

    kept = run(found, use)

    sets = (names for size in range(len(found) + 1) for names in combinations(found, size))
    best = min(
        sum(layer.takes[layer.name] for layer in names)
        for names in sets
        if use([layer.name for layer in names]) <= 1
    )
    # Greedy by worth is short of the optimum by less than the layer at which it ends; the aim, a
    # little under the limit, may ask for one more.
    assert kept.use <= 1
    assert kept.share <= best + 2 * max(share for _, share in drawn) + 0.002 * len(found)


def test_a_choice_that_holds_with_room_to_spare_is_shortened():
    layers = candidates(*[0.1] * 10, share=0.04)

    def measure(names):
        """Fall faster than the root says: the first choice is too long."""
        return 1.8 if len(names) < 3 else 0.5

    assert len(run(layers, measure).names) == 3


def test_between_one_that_failed_and_one_that_holds_with_room_there_is_another():
    layers = candidates(*[0.1] * 16, share=0.02)
    calls = []

    def measure(names):
        """Fall at once, between 5 and 6 layers: no root."""
        return 2.0 if len(names) < 6 else 0.5

    found = run(layers, measure, calls)

    assert len(found.names) == 6
    assert len(calls) <= 7


def test_for_next_to_nothing_no_shorter_one_is_tried():
    layers = candidates(*[0.1] * 10, share=0.001)
    calls = []

    run(layers, lambda names: 1.8 if len(names) < 3 else 0.5, calls)

    assert len(calls) == 2


def test_where_the_law_fails_it_goes_on_until_the_limit_holds():
    layers = candidates(*[0.1] * 9, share=0.05)

    found = run(layers, lambda names: 1.02 if len(names) < 4 else 0.99)

    assert len(found.names) == 4
    assert found.use == 0.99


def test_a_layer_that_is_in_float_says_what_it_would_cost_in_8_bits():
    layers = candidates(0.75, 0.25)

    (kept,) = run(layers, squares(layers, 1.5)).layers

    assert kept.name == "a"
    assert kept.cost == pytest.approx(0.75)  # 1.5 with it, half of that without


def test_no_encoding_is_run_twice():
    layers = candidates(0.3, 0.25, 0.2, 0.15, 0.1)
    calls = []

    run(layers, lambda names: 1.3 - 0.1 * len(names), calls)

    assert len(set(calls)) == len(calls)


def test_it_ends_after_so_many_encodings_with_the_best_it_has():
    layers = candidates(*[0.1] * 20, share=0.01)

    found = run(layers, lambda names: 1.01 + abs(len(names) - 3) / 1000)

    assert found.tried == MOST_TRIED
    assert found.stopped == f"after {MOST_TRIED} encodings"
    assert len(found.names) == 3


def test_what_is_mostly_float_is_no_int8_model():
    layers = candidates(*[0.2] * 10, share=0.1)

    found = run(layers, squares(layers, 10))

    assert found.share <= LARGEST_SHARE
    assert found.use > 1
    assert not found.stopped
