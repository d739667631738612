"""A model of another precision is taken as the float32 model with the same weights."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.inspection import Order, understand
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from engines.reading.precision import to_float32
from tests import networks

KINDS = {"float16": TensorProto.FLOAT16, "bfloat16": TensorProto.BFLOAT16,
         "float64": TensorProto.DOUBLE}  # fmt: skip


def exported_in(kind, model):
    """Return a model with weights and arithmetic of a kind, as exporters do: casts at both ends."""
    graph = model.graph
    for weights in graph.initializer:
        if weights.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weights)
            weights.CopyFrom(
                helper.make_tensor(weights.name, kind, values.shape, values.ravel().tolist())
            )
    image, output = graph.input[0].name, graph.output[0].name
    for node in graph.node:
        for names, end in ((node.input, image), (node.output, output)):
            for position, name in enumerate(names):
                if name == end:
                    names[position] = f"{name}/{kind}"
    before = helper.make_node("Cast", [image], [f"{image}/{kind}"], to=kind)
    graph.node.insert(0, before)
    graph.node.append(
        helper.make_node("Cast", [f"{output}/{kind}"], [output], to=TensorProto.FLOAT)
    )
    return model


def rounded(model, kind):
    """Return the float32 model with the weights that a kind can hold."""
    for weights in model.graph.initializer:
        if weights.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(weights)
            held = helper.make_tensor("", kind, values.shape, values.ravel().tolist())
            value = numpy_helper.to_array(held).astype(np.float32)
            weights.CopyFrom(numpy_helper.from_array(value, weights.name))
    return model


def output_of(model):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    frame = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    return session.run(None, {"images": frame})[0]


@pytest.mark.parametrize("kind", KINDS)
def test_it_gives_what_the_same_weights_give_in_float32(kind):
    model = exported_in(KINDS[kind], networks.ultralytics())

    assert to_float32(model) == [kind]

    wanted = output_of(rounded(networks.ultralytics(), KINDS[kind]))
    np.testing.assert_allclose(output_of(model), wanted, rtol=1e-5, atol=1e-5)


def test_no_cast_is_left_that_would_hide_the_head(tmp_path):
    path = tmp_path / "half.onnx"
    onnx.save(exported_in(TensorProto.FLOAT16, networks.ultralytics()), path)

    network = prepare(load_source(path), None)

    assert "Cast" not in {node.op_type for node in network.model.graph.node}


def test_an_image_input_in_half_precision_becomes_float32(tmp_path):
    model = exported_in(TensorProto.FLOAT16, networks.ultralytics())
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT16
    path = tmp_path / "half.onnx"
    onnx.save(model, path)

    assert prepare(load_source(path), None).inputs == {"images": ("batch", 3, 64, 64)}


def test_a_constant_inside_a_branch_is_converted_too():
    half = numpy_helper.from_array(np.float16([1.5]), "x")
    inner = helper.make_graph(
        [helper.make_node("Constant", [], ["x"], value=half)],
        "branch",
        [],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT16, [1])],
    )
    branch = helper.make_node("If", ["yes"], ["out"], then_branch=inner, else_branch=inner)
    model = helper.make_model(
        helper.make_graph(
            [branch],
            "g",
            [helper.make_tensor_value_info("yes", TensorProto.BOOL, [])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT16, [1])],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )

    to_float32(model)

    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"yes": np.array(1, bool)})
    assert (found.dtype, found.tolist()) == (np.float32, [1.5])


def test_a_float32_model_is_left_as_it_is():
    model = networks.ultralytics()
    before = model.SerializeToString()

    assert to_float32(model) == []
    assert model.SerializeToString() == before


def test_it_is_said_what_was_changed(tmp_path):
    path = tmp_path / "half.onnx"
    onnx.save(exported_in(TensorProto.FLOAT16, networks.ultralytics()), path)

    lines = understand(Order(model=path, name="m", version="1")).explain()

    assert "changed   weights in float16 became float32" in lines
