"""What only moves or averages in 8 bits: the same numbers as ONNX's own ops, in faster ones."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration.quantise import measure, quantise
from tests.calibration_network import SIZE, frames, network, scores

POOL = "QLinearAveragePool"
HALVED = {"kernel_shape": [2, 2], "strides": [2, 2]}


def between(op, constants=(), **attributes):
    """Return a network with one op between its first convolution and the others."""
    rng = np.random.default_rng(3)
    inputs = [f"told{index}" for index in range(len(constants))]
    kernels = {
        "w1": rng.normal(0, 0.01, (16, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.2, (16, 16, 3, 3)).astype(np.float32),
        "w3": rng.normal(0, 0.2, (16, 16, 3, 3)).astype(np.float32),
        "w4": rng.normal(0, 0.2, (4, 32, 1, 1)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node(op, ["c1", *inputs], ["between"], **attributes),
        helper.make_node("Conv", ["between", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        # Of a Pad that only one convolution reads the optimiser makes a part of that.
        helper.make_node("Conv", ["between", "w3"], ["other"], pads=[1, 1, 1, 1]),
        helper.make_node("Concat", ["c2", "other"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w4"], ["c4"]),
        helper.make_node("Sigmoid", ["c4"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "between",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in kernels.items()]
        + [numpy_helper.from_array(v, n) for n, v in zip(inputs, constants, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def resize(scale=2.0, *, nearest=b"floor", coordinates=b"asymmetric", mode=b"nearest"):
    return between(
        "Resize",
        (np.float32([]), np.float32([1, 1, scale, scale])),
        mode=mode,
        nearest_mode=nearest,
        coordinate_transformation_mode=coordinates,
    )


PAD = between("Pad", (np.int64([0, 0, 1, 0, 0, 0, 2, 1]),))
BORDERED = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}


def run(model, name):
    """Return a tensor of a graph on all frames."""
    import onnxruntime

    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    asked.graph.output.append(onnx.ValueInfoProto(name=name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        asked.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return np.concatenate([session.run([name], {"frames": x[None]})[0] for x in frames()])


def optimised(graph, folder):
    """Return the ops that ONNX Runtime makes of a graph."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return [node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node]


def encoded(model, monkeypatch=None):
    """Return the 8-bit graph; with `monkeypatch` the ops are left as they were."""
    measured = measure(model, frames())
    if monkeypatch:
        monkeypatch.setattr("calibration.integer_ops.write", lambda *_: False)
    return measured.encode_cpu([])


@pytest.mark.parametrize(
    "model",
    [
        resize(),
        resize(4.0),
        resize(nearest=b"round_prefer_floor", coordinates=b"half_pixel"),
        resize(nearest=b"ceil", coordinates=b"half_pixel"),
        resize(nearest=b"round_prefer_ceil"),
        resize(3.0),
        PAD,
    ],
    ids=["2", "4", "half", "half ceil", "up", "3", "pad"],
)
def test_moves_give_what_they_gave(model, monkeypatch):
    given = run(encoded(model), "between/q")
    expected = run(encoded(model, monkeypatch), "between/q")
    np.testing.assert_array_equal(given, expected)


@pytest.mark.parametrize("kind", [HALVED, BORDERED], ids=["plain", "with its border"])
def test_an_average_is_what_it_was_but_for_ties(kind, monkeypatch):
    model = between("AveragePool", **kind)
    given = run(encoded(model), "between/q").astype(int)
    expected = run(encoded(model, monkeypatch), "between/q")
    assert np.abs(given - expected).max() <= 1
    assert (given != expected).mean() < 0.02


@pytest.mark.parametrize(
    "model",
    [resize(), PAD, between("AveragePool", **HALVED)],
    ids=["resize", "pad", "average"],
)
def test_channels_stay_last_between_convolutions(model, tmp_path):
    nodes = optimised(encoded(model), tmp_path)
    placed = [index for index, op in enumerate(nodes) if op == "QLinearConv"]
    inside = set(nodes[placed[0] : placed[-1]])
    assert not inside & {"Transpose", "QuantizeLinear", "DequantizeLinear", "Resize", POOL}


def hard(op):
    """Return a network whose first activation is a HardSwish, whole or in parts."""
    model = network()
    nodes = {node.output[0]: node for node in model.graph.node}
    if op == "HardSwish":
        model.graph.node.remove(nodes["g1"])
        nodes["s1"].CopyFrom(helper.make_node("HardSwish", ["c1"], ["s1"]))
    else:
        nodes["g1"].CopyFrom(helper.make_node(op, ["c1"], ["g1"], alpha=1 / 6))
    return model


@pytest.mark.parametrize("op", ["HardSwish", "HardSigmoid"])
def test_a_hard_swish_is_computed_in_integers(op, tmp_path):
    model = hard(op)
    graph = quantise(model, frames()).cpu
    assert np.abs(scores(graph, frames()) - scores(model, frames())).mean() < 0.005
    ops = optimised(graph, tmp_path)
    assert {"QLinearAdd", "QLinearMul"} <= set(ops)
    assert not {"HardSigmoid", "HardSwish"}.intersection(ops)


@pytest.mark.parametrize(
    "model",
    [
        resize(mode=b"linear"),
        resize(coordinates=b"align_corners"),
        between("AveragePool", kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        between("Pad", (np.int64([0, 0, 1, 1, 0, 0, 1, 1]),), mode="reflect"),
    ],
    ids=["linear", "corners", "average of what is there", "reflection"],
)
def test_what_is_something_else_stays_as_it_is(model):
    written = {node.output[0]: node.op_type for node in encoded(model).graph.node}
    assert written["between"] == model.graph.node[3].op_type
