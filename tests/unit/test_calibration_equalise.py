"""Channels of unequal range are made equal, and nothing else changes."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from calibration.equalise import equalised, plain_in_float
from calibration.fold import fold
from calibration.observe import activations
from calibration.quantise import measure
from calibration.topology import Topology, silu_input
from tests.calibration_network import frames, network, scores


def chain(activation="Relu", groups=1):
    """Return a network of which one channel is a hundred times the others, then read in groups."""
    model = network(spread=100.0)
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    kernel = np.random.default_rng(3).normal(0, 0.2, (8, 8 // groups, 3, 3)).astype(np.float32)
    constants["w2"].CopyFrom(numpy_helper.from_array(kernel, "w2"))
    nodes = {node.output[0]: node for node in model.graph.node}
    nodes["c2"].attribute.append(helper.make_attribute("group", groups))
    nodes["c3"].input[0] = "s2"
    constants["w3"].CopyFrom(
        numpy_helper.from_array(kernel[:, :1, :1, :1] * np.ones((1, 8, 1, 1), np.float32), "w3")
    )
    model.graph.node.remove(nodes["both"])
    if activation != "Silu":
        model.graph.node.remove(nodes["g1"])
        nodes["s1"].CopyFrom(helper.make_node(activation, ["c1"], ["s1"]))
    return fold(model)


def peaks(model, name):
    return np.max(
        [np.abs(v[0]).max(axis=(0, 2, 3)) for v in activations(model, [name], frames())], 0
    )


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Silu"])
@pytest.mark.parametrize("groups", [1, 2, 8])
def test_channels_become_equal_and_the_outputs_stay(activation, groups):
    model = chain(activation, groups)
    found = equalised(model, frames(), lambda _: None)
    spread = [p.max() / p.min() for p in (peaks(m, "s1") for m in (model, found))]
    assert spread[0] > 50
    assert spread[1] < 8
    np.testing.assert_allclose(scores(found, frames()), scores(model, frames()), atol=1e-5)


def test_a_gate_gets_the_factor_back():
    found = equalised(chain("Silu"), frames(), lambda _: None)
    topology = Topology(found)
    assert silu_input(topology, topology.producer["s1"]) == "c1"
    assert topology.producer[topology.producer["g1"].input[0]].op_type == "Mul"


def test_factors_are_exact_in_8_bits():
    found = equalised(chain("Silu"), frames(), lambda _: None)
    factors = next(numpy_helper.to_array(t) for t in found.graph.initializer if "factors" in t.name)
    steps = factors.reshape(-1) / factors.max() * 255
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-3)


def test_on_the_cpu_factors_are_stored_as_often_as_a_row_has_pixels():
    encoded = measure(chain("Silu"), frames()).encode_cpu([])
    stored = {t.name: t.dims for t in encoded.graph.initializer}
    (factors,) = (dims for name, dims in stored.items() if name.endswith("/factors/q"))
    row = Topology(chain("Silu")).shape("c1")[3]
    assert list(factors) == [1, 8, 1, row]


@pytest.mark.parametrize(
    ("in_float", "factors"), [([], True), (["c1"], True), (["c2"], False), (["c1", "c2"], False)]
)
def test_on_the_cpu_factors_are_taken_back_where_all_around_them_is_float(in_float, factors):
    encoded = measure(chain("Silu"), frames()).encode_cpu(in_float)
    made = {name for node in encoded.graph.node for name in node.output}
    stored = {tensor.name for tensor in encoded.graph.initializer}
    assert ("s1/restored" in made) == factors
    assert stored <= {name for node in encoded.graph.node for name in node.input}
    np.testing.assert_allclose(
        scores(encoded, frames()), scores(chain("Silu"), frames()), atol=0.05
    )


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_without_its_factors_a_graph_computes_the_same(groups):
    divided = equalised(chain("Silu", groups), frames(), lambda _: None)
    plain = onnx.ModelProto()
    plain.CopyFrom(divided)
    plain_in_float(plain)
    assert any(node.name.endswith("/restored") for node in divided.graph.node)
    assert not any(node.name.endswith("/restored") for node in plain.graph.node)
    np.testing.assert_allclose(scores(plain, frames()), scores(divided, frames()), atol=1e-5)


def test_channels_that_are_nearly_equal_cost_nothing():
    model = fold(network())
    found = equalised(model, frames(), lambda _: None)
    assert [n.op_type for n in found.graph.node] == [n.op_type for n in model.graph.node]


def test_a_network_without_such_channels_stays_as_it_is():
    model = chain("Relu")
    for node in model.graph.node:
        if node.op_type == "Relu":
            node.op_type = "Tanh"
    found = equalised(model, frames(), lambda _: None)
    assert found.SerializeToString() == model.SerializeToString()


def test_what_more_than_convolutions_read_is_left_alone():
    model = fold(network(spread=100.0))  # its s1 is concatenated, too
    found = equalised(model, frames(), lambda _: None)
    np.testing.assert_array_equal(peaks(found, "s1"), peaks(model, "s1"))


@pytest.mark.parametrize("encoding", ["encode_cpu", "encode_tensorrt"])
@pytest.mark.parametrize("activation", ["Relu", "Silu"])
def test_one_loud_channel_no_longer_drowns_the_others(encoding, activation):
    model = chain(activation, 8)
    int8 = getattr(measure(model, frames()), encoding)([])
    assert np.abs(scores(int8, frames()) - scores(model, frames())).mean() < 0.01


def test_the_equalised_silu_is_computed_in_integers(tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    model = measure(chain("Silu"), frames()).encode_cpu([])
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ops = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert ops.count("QLinearMul") == 3
    assert ops.count("QLinearSigmoid") == 2
