"""The search keeps few layers in float, and only as many as the budget asks for."""

from __future__ import annotations

import pytest

from calibration.layers import Layer
from engines.search import LARGEST_SHARE, Trials, fewest, rankings


def layers(*harms, share=0.05):
    """Return layers a, b, c … of these noises."""
    return [
        Layer(chr(ord("a") + index), share, harm, harm, 1.0) for index, harm in enumerate(harms)
    ]


def additive(found, calls=None):
    """Return what uses up the sum of the noises of all layers in INT8."""

    def use(names):
        if calls is not None:
            calls.append(names)
        return sum(layer.cpu_noise for layer in found if layer.name not in names)

    return use


def run(found, aim, measure=None, most=60, seconds=60):
    noise = {layer.name: layer.cpu_noise for layer in found}
    trials = Trials(measure or additive(found), most, seconds)
    return fewest("model.onnx", found, noise, trials, aim)


@pytest.mark.parametrize(
    ("aim", "kept"),
    [(1.0, ""), (0.65, "c"), (0.45, "ac"), (0.25, "abc"), (0.11, "abcd"), (0.0, "abcde")],
)
def test_the_layers_that_lose_most_stay_in_float(aim, kept):
    found = run(layers(0.2, 0.15, 0.35, 0.12, 0.1), aim)

    assert "".join(sorted(found.names)) == kept
    assert found.use <= aim + 1e-9


def test_one_ranking_looks_at_what_a_layer_costs_and_one_at_what_it_loses():
    small, large = Layer("small", 0.01, 0.1, 0.1, 1.0), Layer("large", 0.2, 0.5, 0.5, 1.0)

    first, second = rankings([large, small], {"small": 0.1, "large": 0.5})

    assert [layer.name for layer in first] == ["small", "large"]
    assert [layer.name for layer in second] == ["large", "small"]


def test_of_two_ways_the_one_with_fewer_multiplications_in_float_is_taken():
    found = [
        Layer("wide", 0.4, 0.5, 0.5, 1.0),
        *(Layer(f"deep{number}", 0.001, 0.1, 0.1, 1.0) for number in range(5)),
    ]

    def use(names):
        return 0.5 if "wide" in names or len(names) == 5 else 2.0

    assert "wide" not in run(found, 0.9, use).names


def test_what_the_ranking_took_in_vain_goes_back():
    found = layers(0.5, 0.4, 0.3, 0.2)

    def only_d_matters(names):
        return 0.0 if "d" in names else 2.0

    assert run(found, 0.9, only_d_matters).names == ("d",)


def test_each_layer_kept_says_what_it_would_cost():
    found = run(layers(0.2, 0.15, 0.35), 0.2)

    assert {layer.name: round(layer.cost, 9) for layer in found.layers} == {"a": 0.2, "c": 0.35}


def test_no_encoding_is_run_twice():
    calls = []
    found = layers(0.3, 0.25, 0.2, 0.15, 0.1)

    run(found, 0.3, additive(found, calls))

    assert len({frozenset(names) for names in calls}) == len(calls)


def test_it_ends_after_so_many_encodings_with_the_best_it_has():
    found = run(layers(*[0.1] * 9), 0.35, most=4)

    assert found.tried == 4
    assert found.stopped == "after 4 encodings"
    assert found.use == pytest.approx(0.5)  # 0, 1, 2 and 4 of 9 were tried


def test_it_ends_when_the_time_is_over():
    found = run(layers(0.6, 0.6), 0.5, seconds=-1)

    assert (found.tried, found.names) == (0, ())
    assert "for time" in found.stopped


def test_what_is_mostly_float_is_no_int8_model():
    found = run(layers(*[0.2] * 10, share=0.1), 0.1)

    assert sum(layer.share for layer in found.layers) <= LARGEST_SHARE
    assert found.use > 0.1
