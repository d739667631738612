"""Scaled and shifted rectifiers go into convolutions; ranges do what rectifiers did."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.chains import absorbed
from calibration.quantise import measure, quantise
from tests.calibration_network import SIZE, frames, scores

RNG = np.random.default_rng(3)
CONVOLUTION = {"pads": [1, 1, 1, 1]}


def chain(steps, *, pads=1, joined=False):
    """Return frames, conv, ReLU, `steps` of (op, constant), two conv, ReLU, then the scores.

    With `joined` the second convolution reads the first's pixels beside the chain, concatenated.
    """
    rng = np.random.default_rng(3)
    constants = {
        "scale": np.float32(1 / 255),
        "w1": rng.normal(0, 0.4, (8, 3, 3, 3)),
        "b1": rng.normal(0, 0.1, 8),
        "w2": rng.normal(0, 0.2, (8, 11 if joined else 8, 1 + 2 * pads, 1 + 2 * pads)),
        "w3": rng.normal(0, 0.2, (8, 8, 1, 1)),
        "w4": rng.normal(0, 0.2, (4, 8, 1, 1)),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], **CONVOLUTION),
        helper.make_node("Relu", ["c1"], ["r1"]),
    ]
    last = "r1"
    for number, (op, constant) in enumerate(steps):
        constants[f"k{number}"] = np.float32(constant)
        nodes.append(helper.make_node(op, [f"k{number}", last], [f"t{number}"]))
        last = f"t{number}"
    if joined:
        nodes.append(helper.make_node("Concat", [last, "pixels"], ["joined"], axis=1))
        last = "joined"
    nodes += [
        helper.make_node("Conv", [last, "w2"], ["c2"], pads=[pads] * 4),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "w3"], ["c3"]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("Conv", ["r3", "w4"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["b", 4, SIZE, SIZE])],
        [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def ops(model):
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize(
    ("steps", "pads", "left"),
    [
        pytest.param([("Mul", 0.3)], 1, set(), id="scaled"),
        pytest.param([("Mul", RNG.uniform(0.1, 2, (8, 1, 1)))], 1, set(), id="by channel"),
        pytest.param([("Mul", 0.3), ("Add", -0.5)], 1, {"Clip"}, id="shifted down"),
        pytest.param([("Mul", 0.3), ("Add", 0.5)], 0, set(), id="shifted up, no border"),
        pytest.param([("Mul", 0.3), ("Add", -0.5)], 0, set(), id="shifted down, no border"),
        pytest.param([("Mul", 0.3), ("Add", 0.5)], 1, {"Add"}, id="padded with 0 below the range"),
        pytest.param([("Mul", -0.3)], 1, {"Mul"}, id="turned over"),
        pytest.param([("Mul", RNG.uniform(0.1, 2, (1, SIZE)))], 1, {"Mul"}, id="by column"),
    ],
)
def test_a_chain_behind_a_rectifier_goes_into_convolutions_where_it_can(steps, pads, left):
    model = chain(steps, pads=pads)
    simpler = absorbed(model)
    assert {"Mul", "Add", "Clip"} & set(ops(simpler)[3:]) == left
    np.testing.assert_allclose(scores(simpler, frames()), scores(model, frames()), atol=1e-5)


def test_the_given_graph_is_left_as_it_is():
    model = chain([("Mul", 0.3), ("Add", -0.5)])
    before = model.SerializeToString()
    absorbed(model)
    assert model.SerializeToString() == before


def kernels(model, folder):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return onnx.load(folder / "optimised.onnx").graph.node


@pytest.mark.parametrize("joined", [False, True])
def test_convolutions_before_a_shifted_rectifier_run_in_8_bits(joined, tmp_path):
    model = chain([("Mul", 0.3), ("Add", -0.5)], joined=joined)
    int8 = quantise(model, frames()).cpu
    found = [node.op_type for node in kernels(int8, tmp_path)]
    assert found.count("QLinearConv") == 3
    assert not {"Clip", "Relu", "Mul", "Add"} & set(found)
    wanted = scores(model, frames())
    assert np.abs(scores(int8, frames()) - wanted).mean() < 0.05 * wanted.std()


def test_onnxruntime_does_not_round_what_is_kept_in_float(tmp_path):
    model = chain([], joined=True)
    kept = measure(model, frames()).encode_cpu(["c2"])
    # It reads a concatenation in 8 bits, and is itself written in 8 bits behind its rectifier.
    by_output = {node.output[0]: node for node in kept.graph.node}
    assert by_output["joined/dq"].op_type == "DequantizeLinear"
    assert by_output["r2/q"].op_type == "QuantizeLinear"
    found = [node.op_type for node in kernels(kept, tmp_path)]
    assert found.count("QLinearConv") == 2
