"""A Focus stem folded into its convolution gives what it gave."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from engines.graph import GraphBuilder
from engines.reading.focus import fold_focus

YOLOX = [(0, 0), (1, 0), (0, 1), (1, 1)]
"""Offsets (y, x) of the four pictures, in its order."""


def stem(offsets=YOLOX, pads=1, last=2**63 - 1):
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 48])
    model = helper.make_model(
        helper.make_graph([], "stem", [image], []),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    graph = GraphBuilder(model)

    def every_other(tensor, axis, start):
        bounds = [graph.constant([value], np.int64) for value in (start, last, axis, 2)]
        return graph.op("Slice", tensor, *bounds)

    quarters = [every_other(every_other("image", 2, y), 3, x) for y, x in offsets]
    joined = graph.op("Concat", *quarters, axis=1)
    rng = np.random.default_rng(0)
    weights = graph.constant(rng.normal(size=(5, 3 * len(offsets), 3, 3)))
    bias = graph.constant(rng.normal(size=5))
    made = graph.op("Conv", joined, weights, bias, kernel_shape=[3, 3], pads=[pads] * 4,
                    strides=[1, 1], dilations=[1, 1], group=1)  # fmt: skip
    graph.publish(made, "out")
    model.graph.output.append(
        helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 5, "h", "w"])
    )
    return model


def run(model, image):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"image": image})[0]


def space_to_depth(order):
    """Write the stem as ONNX Runtime does where each quarter is one Slice."""
    model = stem()
    graph = GraphBuilder(model, "s/")
    conv = next(node for node in model.graph.node if node.op_type == "Conv")
    conv.input[0] = graph.op("SpaceToDepth", "image", blocksize=2)
    if order is not None:
        conv.input[0] = graph.op("Gather", conv.input[0], graph.constant(order, np.int64), axis=1)
    nodes = [*model.graph.node[-2:], conv] if order is not None else [model.graph.node[-1], conv]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


@pytest.mark.parametrize("order", [None, [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11], range(11, -1, -1)])
def test_it_is_the_same_function_as_space_to_depth(order):
    model = space_to_depth(None if order is None else list(order))
    image = np.random.default_rng(1).random((2, 3, 32, 48), np.float32)
    before = run(model, image)

    assert fold_focus(model, "image")

    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(model, image), before, atol=1e-4)


@pytest.mark.parametrize("offsets", [YOLOX, YOLOX[::-1], sorted(YOLOX)])
def test_it_is_the_same_function_without_slices(offsets):
    model, image = stem(offsets), np.random.default_rng(1).random((2, 3, 32, 48), np.float32)
    before = run(model, image)

    assert fold_focus(model, "image")

    onnx.checker.check_model(model)
    assert [node.op_type for node in model.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(model, image), before, atol=1e-4)


@pytest.mark.parametrize(
    "model",
    [
        stem(offsets=[*YOLOX[:3], (0, 0)]),
        stem(offsets=YOLOX[:2]),
        stem(pads=0),
        stem(last=16),
        space_to_depth([0] * 12),
    ],
)
def test_what_only_looks_like_focus_is_left_alone(model):
    before = model.SerializeToString()

    assert not fold_focus(model, "image")
    assert model.SerializeToString() == before
