"""What 8 bits do to all scores alike is taken off at the biases of the last convolutions."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from calibration.tail import body, last_convolutions
from calibration.topology import Topology
from engines.inspection import Order, understand
from engines.search.effects import candidates_of, scores_of
from engines.search.recentre import Recentre, shifted
from tests import networks

SOME = 4


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    onnx.save(networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), path)
    return understand(Order(path, "shelf", "1.0.0")).graph


@pytest.fixture(scope="module")
def last(graph):
    topology = Topology(graph)
    return [node.output[0] for node in last_convolutions(topology, body(topology))]


@pytest.fixture(scope="module")
def frames():
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (64, 64, 3), dtype=np.uint8) for _ in range(SOME)]


@pytest.fixture(scope="module")
def recentre(graph, last, frames):
    return Recentre(graph, last, frames, lambda _: None)


def mean_error(graph, wrong, frames):
    name = candidates_of(graph)
    return float((scores_of(wrong, name, frames) - scores_of(graph, name, frames)).mean())


def test_scores_that_fell_alike_come_back(graph, last, frames, recentre):
    fallen = shifted(graph, dict.fromkeys(last, -0.3))

    before, after = (mean_error(graph, wrong, frames) for wrong in (fallen, recentre(fallen)))

    assert before < -0.02
    assert abs(after) < 0.1 * abs(before)


def test_the_boxes_are_left_alone(graph, last, recentre):
    fallen = shifted(graph, dict.fromkeys(last, -0.3))

    biases = [
        {node.output[0]: node.input[2] for node in model.graph.node if node.output[0] in last}
        for model in (fallen, recentre(fallen))
    ]

    # Of each of the three scales one convolution makes scores and another one boxes.
    assert len(last) == 6
    assert sum(biases[0][name] != biases[1][name] for name in last) == 3


def test_what_is_right_stays_as_it_is(graph, frames, recentre):
    assert mean_error(graph, recentre(graph), frames) == pytest.approx(0, abs=1e-6)


def test_a_network_whose_last_layers_are_no_convolutions_is_left_alone(graph, frames):
    assert Recentre(graph, [], frames, lambda _: None)(graph) is graph


def test_what_helps_only_some_frames_is_left_alone(graph, last, frames):
    """Every other frame is of a graph whose scores fell, the others of one where they rose."""
    recentre = Recentre(graph, last, frames, lambda _: None)
    name = candidates_of(graph)
    low, high = (
        scores_of(shifted(graph, dict.fromkeys(last, by)), name, frames) for by in (-0.3, 0.3)
    )
    recentre._reference = np.where(np.arange(SOME)[:, None] % 2 == 0, low, high)

    assert recentre(graph) is graph
