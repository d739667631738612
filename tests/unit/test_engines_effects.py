"""What a layer in 8 bits does to the candidates' scores, all others being float, is its effect."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from engines.inspection import Order, understand
from engines.search.effects import Scores, candidates_of, effects
from tests import networks, networks_detr, networks_yolo


def fainter(contract, by):
    """Lower the score of every candidate for a detection, before NMS."""
    changed = onnx.ModelProto()
    changed.CopyFrom(contract)
    changed.graph.initializer.append(numpy_helper.from_array(np.float32(by), "fainter"))
    nodes = list(changed.graph.node)
    place = next(i for i, node in enumerate(nodes) if node.op_type == "TopK")
    scores = nodes[place].input[0]
    maker = next(node for node in nodes[:place] if scores in node.output)
    for node in nodes:
        node.output[:] = ["bright" if name == scores else name for name in node.output]
    nodes.insert(nodes.index(maker) + 1, helper.make_node("Sub", ["bright", "fainter"], [scores]))
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


@pytest.fixture
def graph(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), path)
    return understand(Order(path, "shelf", "1.0.0")).graph


@pytest.fixture
def frames(graph):
    height, width = (d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    generator = np.random.default_rng(0)
    return [generator.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(2)]


def test_it_is_the_mean_square_of_what_the_scores_change_by(graph, frames):
    alone = {"exact": graph, "off": fainter(graph, 0.1)}

    found = effects(Scores.of(graph, frames), alone.items(), lambda _: None)

    assert found == pytest.approx({"exact": 0.0, "off": 0.01}, abs=1e-6)


def test_it_tells_how_many_layers_are_done(graph, frames):
    done = []

    effects(Scores.of(graph, frames), [("a", graph), ("b", graph)], done.append)

    assert done == [1, 2]


def test_the_frames_looked_at_are_spread_over_those_that_show_something():
    reference = np.array([[0.0], [0.9], [0.9], [0.0], [0.9], [0.9]], np.float32)
    pictures = [np.full((2, 2, 3), number, np.uint8) for number in range(6)]
    scores = Scores("scores", pictures, reference)

    assert [int(frame[0, 0, 0]) for frame in scores.spread(2).frames] == [1, 5]
    assert [int(frame[0, 0, 0]) for frame in scores.spread(9).frames] == [1, 2, 4, 5]


def test_where_none_does_all_are_looked_at():
    pictures = [np.zeros((2, 2, 3), np.uint8)] * 2
    scores = Scores("scores", pictures, np.zeros((2, 1), np.float32))

    assert len(scores.spread(2).frames) == 2


@pytest.mark.parametrize(
    ("network", "makes"),
    [
        (networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), "Sigmoid"),
        (networks_yolo.end_to_end(), "ReduceMax"),
        (networks_detr.ultralytics(rows=True), "Flatten"),
    ],
)
def test_candidates_are_what_the_networks_own_top_k_reads(tmp_path, network, makes):
    path = tmp_path / "model.onnx"
    onnx.save(network, path)
    graph = understand(Order(path, "shelf", "1.0.0")).graph

    (maker,) = [node for node in graph.graph.node if candidates_of(graph) in node.output]

    assert maker.op_type == makes


def test_ranks_are_compared_where_a_decoder_computes_on_what_was_picked(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(networks_detr.ultralytics(rows=True, chosen=True), path)
    graph = understand(Order(path, "shelf", "1.0.0")).graph
    picked = [node.input[0] for node in graph.graph.node if node.op_type == "TopK"]

    assert len(picked) == 3
    assert candidates_of(graph) == picked[-1]


def test_they_are_sorted_then(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(networks_detr.ultralytics(rows=False, chosen=True), path)
    graph = understand(Order(path, "shelf", "1.0.0")).graph
    height, width = (d.dim_value for d in graph.graph.input[0].type.tensor_type.shape.dim[1:3])
    pictures = [np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)]

    scores = Scores.of(graph, pictures)

    assert scores.ranked
    assert (np.diff(scores.reference) >= 0).all()
