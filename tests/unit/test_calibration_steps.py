"""One range alone in 8 bits, at a step that is given when the graph runs."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from calibration.observe import open_session
from calibration.quantise import measure
from calibration.steps import STEP
from tests.calibration_network import frames, network, scores


@pytest.fixture(scope="module")
def measured():
    return measure(network(), frames())


def wrong(measured, encoding, tensors, times):
    """Return the mean change of the scores with these tensors in 8 bits, their step so many times.

    One frame after the other.
    """
    graph, step = measured.at_step(encoding, tensors, "scores")
    session, given = open_session(graph), np.array(step * times, np.float32)
    found = [session.run(None, {"frames": f[np.newaxis], STEP: given})[0][0] for f in frames()]
    return float(np.abs(np.stack(found) - scores(network(), frames())).mean())


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        ("cpu", [("c1",), ("c2",), ("r3",), ("s1", "s2", "both")]),
        ("tensorrt", [("both", "s1")]),
    ],
)
def test_pixels_and_probabilities_have_no_range_to_choose(measured, encoding, expected):
    found = [set(tensors) for tensors in measured.ranges(encoding)]

    assert sorted(found, key=sorted) == sorted(map(set, expected), key=sorted)


@pytest.mark.parametrize("encoding", ["cpu", "tensorrt"])
def test_the_step_it_has_is_better_than_one_far_off(measured, encoding):
    for tensors in measured.ranges(encoding):
        own, coarse, cut = (wrong(measured, encoding, tensors, by) for by in (1, 16, 1 / 16))

        assert 0 < own < min(coarse, cut)


def test_a_step_is_changed_for_all_that_share_it_and_in_one_encoding(measured):
    changed = measured.rescaled("cpu", {"s1": 0.5})

    assert changed.ranges("cpu") == measured.ranges("cpu")
    halved = measured.at_step("cpu", ["both"], "scores")[1] / 2
    assert changed.at_step("cpu", ["both"], "scores")[1] == pytest.approx(halved)
    assert changed.at_step("cpu", ["c1"], "scores")[1] == measured.at_step("cpu", ["c1"], "c1")[1]
    written, before = changed.encode_tensorrt(()), measured.encode_tensorrt(())
    assert written.SerializeToString(deterministic=True) == before.SerializeToString(
        deterministic=True
    )


def test_the_biases_are_corrected_for_what_the_new_step_cuts_off(measured):
    def bias(of):
        constants = {t.name: t for t in of.encode_tensorrt(()).graph.initializer}
        return numpy_helper.to_array(constants["c3/bias"])

    assert not np.allclose(bias(measured.rescaled("tensorrt", {"s1": 0.25})), bias(measured))


def test_the_passport_says_which_steps_are_not_what_the_values_ask_for(measured):
    twice = measured.rescaled("cpu", {"c1": 0.8}).rescaled("cpu", {"c1": 0.5, "c2": 1.5})

    assert twice.encode().report["cpu"]["steps_moved"] == {"c1": 0.4, "c2": 1.5}
    assert measured.encode().report["cpu"]["steps_moved"] == {}
