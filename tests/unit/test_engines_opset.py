"""A graph of a newer opset is written in the operators of opset 17, where they can say it."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.graph import opset_of
from engines.reading.opset import lowered

SHAPE = (1, 6, 8, 10)


def model(opset, *nodes, outputs=("out",), **constants):
    weights = [numpy_helper.from_array(np.array(v), name) for name, v in constants.items()]
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(network):
    session = onnxruntime.InferenceSession(network.SerializeToString())
    frame = np.random.default_rng(0).random(SHAPE, np.float32)
    return session.run(None, {"x": frame})


def node(op_type, *inputs, outputs=("out",), **attributes):
    return helper.make_node(op_type, inputs, outputs, **attributes)


SCALES = np.float32([1, 1, 2, 2])
GRID = np.linspace(-1, 1, 6 * 2, dtype=np.float32).reshape(1, 2, 3, 2)


@pytest.mark.parametrize("opset", [18, 19, 20, 21, 22])
@pytest.mark.parametrize(
    "build",
    [
        lambda o: model(o, node("Split", "x", outputs=("out", "b"), axis=1, num_outputs=2)),
        lambda o: model(o, node("Split", "x", outputs=("a", "out"), axis=3, num_outputs=2)),
        lambda o: model(o, node("Split", "x", "n", outputs=("out", "b"), axis=1), n=[4, 2]),
        lambda o: model(o, node("ReduceMax", "x", "axes", keepdims=0), axes=[1]),
        lambda o: model(o, node("ReduceMean", "x", "axes"), axes=[2, 3]),
        lambda o: model(o, node("ReduceMin", "x")),
        lambda o: model(o, node("Resize", "x", "", "scales", mode="nearest"), scales=SCALES),
        lambda o: model(o, node("Pad", "x", "pads"), pads=[0, 0, 1, 1, 0, 0, 1, 1]),
        lambda o: model(o, node("AveragePool", "x", kernel_shape=[2, 2])),
        lambda o: model(o, node("MaxPool", "x", kernel_shape=[2, 2])),
        lambda o: model(o, node("Cast", "x", to=TensorProto.FLOAT, saturate=1)) if o > 18 else None,
        lambda o: model(o, node("GridSample", "x", "g", mode="linear"), g=GRID) if o > 19 else None,
    ],
    ids=["equal parts", "second part", "given lengths", "max", "mean", "min of all", "resize",
         "pad", "average", "largest", "cast", "grid sample"],
)  # fmt: skip
def test_it_gives_the_same(opset, build):
    newer = build(opset)
    if newer is None:
        pytest.skip(f"opset {opset} has no such attribute yet")

    older = lowered(newer)

    assert opset_of(older) == 17
    for found, wanted in zip(run(older), run(newer), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


@pytest.mark.parametrize(
    "build",
    [
        lambda: model(20, node("Gelu", "x")),
        lambda: model(18, node("Resize", "x", "", "scales", mode="linear", antialias=1),
                      scales=SCALES),
        lambda: model(19, node("Pad", "x", "pads", mode="wrap"), pads=[0, 0, 1, 1, 0, 0, 1, 1]),
        lambda: model(18, node("ReduceMax", "x", "", noop_with_empty_axes=1)),
    ],
    ids=["new operator", "antialiasing", "wrapped padding", "empty axes"],
)  # fmt: skip
def test_what_opset_17_cannot_say_is_left_as_it_is(build):
    newer = build()
    before = newer.SerializeToString()

    assert lowered(newer) is newer
    assert newer.SerializeToString() == before


def test_an_opset_that_is_old_enough_is_left_alone():
    older = model(17, node("Relu", "x"))

    assert lowered(older) is older


def test_the_list_of_operators_that_changed_in_types_only_is_true():
    from engines.reading.opset import _TYPES_ONLY

    for name in _TYPES_ONLY:
        new, old = (onnx.defs.get_schema(name, version) for version in (22, 17))
        assert set(new.attributes) - {"saturate"} == set(old.attributes), name
        assert [i.name for i in new.inputs] == [i.name for i in old.inputs], name
