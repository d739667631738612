"""LayerNormalization, spelled out, gives what it gave."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.reading.normalisation import spell_out
from tests import by_hand

SHAPE = [2, 5, 8]


def normalising(*, shift=True, **attributes):
    rng = np.random.default_rng(0)
    length = int(np.prod(SHAPE[attributes.get("axis", -1) :]))
    names = ["x", "scale"] + ["shift"] * shift
    node = helper.make_node("LayerNormalization", names, ["y"], **attributes)
    size = SHAPE[attributes.get("axis", -1) :]
    weights = [
        numpy_helper.from_array(rng.normal(size=length).astype(np.float32).reshape(size), name)
        for name in names[1:]
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node], "g", [value("x", TensorProto.FLOAT, SHAPE)],
        [value("y", TensorProto.FLOAT, SHAPE)], weights,
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def result(model):
    values = np.random.default_rng(1).normal(3, 2, SHAPE).astype(np.float32)
    return by_hand.session(model).run(None, {"x": values})[0]


@pytest.mark.parametrize(
    "how", [{}, {"shift": False}, {"epsilon": 0.1}], ids=["plain", "without shift", "epsilon"]
)
def test_it_gives_the_same(how):
    model = normalising(**how)
    wanted = result(model)

    spell_out(model)

    assert "LayerNormalization" not in {node.op_type for node in model.graph.node}
    np.testing.assert_allclose(result(model), wanted, atol=1e-5)


def test_over_more_than_the_last_axis_it_is_left():
    model = normalising(axis=-2)

    spell_out(model)

    assert [node.op_type for node in model.graph.node] == ["LayerNormalization"]
