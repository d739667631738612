"""Steps are chosen by what they do to the candidates' scores, and only where frames agree."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from calibration.quantise import measure
from engines.inspection import Order, understand
from engines.search.effects import Scores
from engines.search.ranges import FACTORS, agreed, factors
from tests import networks


@pytest.mark.parametrize(
    ("errors", "row"),
    [
        ([[4, 4], [2, 2], [3, 3]], 1),  # better for all
        ([[4, 4], [1, 5], [5, 1]], 0),  # better for one half, worse for the other
        ([[4, 4], [1, 3], [3, 1]], 1),  # the halves' own favourites differ, both are better
        ([[4, 4], [4, 4]], 0),  # no better
        ([[0, 0], [1, 1]], 0),  # what is exact stays
        ([[4, 4, 4, 4], [1, 3, 1, 3], [2, 1, 2, 1]], 2),
    ],
)
def test_a_step_is_changed_where_each_half_of_the_frames_gains_by_the_others_choice(errors, row):
    assert agreed(np.array(errors, np.float64)) == row


@given(arrays.arrays(np.float64, (5, 8), elements=st.floats(0, 1, width=32)))
def test_what_is_chosen_is_better_on_the_frames_or_left_as_it_is(errors):
    row = agreed(errors)

    assert row == 0 or errors[row].sum() < errors[0].sum()


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), path)
    graph = understand(Order(path, "shelf", "1.0.0")).graph
    height, width = (d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    generator = np.random.default_rng(0)
    frames = [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(8)]
    return measure(graph, frames)


@pytest.fixture(scope="module")
def scores(measured):
    return Scores.of(measured.model, measured.frames)


@pytest.mark.parametrize("encoding", ["cpu", "tensorrt"])
def test_a_step_that_is_far_too_coarse_is_made_finer(measured, scores, encoding):
    tensors = measured.ranges(encoding)[0]
    coarse = measured.rescaled(encoding, {tensors[0]: 12})

    found = factors(coarse, scores, encoding, lambda *_: None)

    assert found[tensors[0]] < 1


def test_the_same_calibration_gives_the_same_steps(measured, scores):
    first, second = (factors(measured, scores, "cpu", lambda *_: None) for _ in range(2))

    assert first == second
    assert set(first.values()) <= set(FACTORS)


def test_it_tells_how_many_ranges_were_run(measured, scores):
    told = []

    factors(measured, scores, "tensorrt", lambda done, of: told.append((done, of)))

    total = told[-1][1]
    assert told == [(done + 1, total) for done in range(total)]
