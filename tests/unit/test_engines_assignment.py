"""Assignments to columns, as PyTorch exports them, become joins, of any batch."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.reading.assignment import fold_assignments

SHAPE = (2, 3, 4, 6)


def assigning(index, updates, **attributes):
    """Return a graph that scatters `updates` of its input's sigmoid into the input."""
    tensors = [
        numpy_helper.from_array(np.asarray(index, np.int64), "index"),
        numpy_helper.from_array(np.asarray(updates, np.float32), "updates"),
    ]
    nodes = [
        helper.make_node("Relu", ["x"], ["data"]),
        helper.make_node("ScatterND", ["data", "index", "updates"], ["y"], **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        tensors,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def columns(start, stop):
    ranges = [*map(np.arange, SHAPE[:-1]), np.arange(start, stop)]
    return np.stack(np.meshgrid(*ranges, indexing="ij"), -1)


def run(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": np.random.default_rng(0).random(SHAPE, np.float32)})[0]


def values(index):
    return np.random.default_rng(1).random(index.shape[:-1])


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (2, 4), (4, 6), (0, 6), (3, 4)])
def test_columns_are_joined_with_the_same_result(start, stop):
    index = columns(start, stop)
    model = assigning(index, values(index))
    wanted = run(model)

    fold_assignments(model)

    assert "ScatterND" not in {node.op_type for node in model.graph.node}
    np.testing.assert_array_equal(run(model), wanted)


@pytest.mark.parametrize(
    "index",
    [columns(0, 2)[:1], columns(0, 4)[..., ::2, :], columns(0, 2)[:, ::-1], columns(0, 2)[..., :3]],
    ids=["one frame", "every other", "turned round", "whole rows"],
)
def test_another_assignment_is_left_as_it_is(index):
    shape = index.shape[:-1] + SHAPE[index.shape[-1] :]
    model = assigning(index, np.zeros(shape))
    before = model.SerializeToString()

    fold_assignments(model)

    assert [node.op_type for node in model.graph.node] == ["Relu", "ScatterND"]
    assert model.SerializeToString() == before


def test_a_sum_is_no_assignment():
    index = columns(0, 2)
    model = assigning(index, values(index), reduction="add")

    fold_assignments(model)

    assert [node.op_type for node in model.graph.node] == ["Relu", "ScatterND"]
