"""The first convolution reads pixels by fours, and computes what it did."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from calibration.prelude import find_prelude
from calibration.quantise import measure
from calibration.stem import PIXELS, find_stem
from calibration.topology import Topology
from tests.calibration_network import frames, network, scores

HEIGHT, WIDTH = 12, 16


def first(kernel=3, stride=2, pad=1, channels=8, moves=((0, 3, 1, 2), (2, 1, 0)), **attributes):
    """Return a graph that begins with a convolution of integers, so that sums are exact."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (channels, 3, kernel, kernel)).astype(np.float32)
    perm, colours = moves
    told = {"strides": [stride] * 2, "pads": [pad] * 4, **attributes}
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=perm),
        helper.make_node("Gather", ["planes", "colours"], ["pixels"], axis=1),
        helper.make_node("Conv", ["pixels", "w"], ["c"], **told),
    ]
    graph = helper.make_graph(
        nodes,
        "first",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, HEIGHT, WIDTH, 3])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.int64(colours), "colours"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def stem_of(model, size=(HEIGHT, WIDTH)):
    topology = Topology(model)
    return find_stem(topology, find_prelude(topology), size)


def run_by_fours(model, stem, picture):
    """Return what the stem makes of a frame, as the encoding lays it out."""
    weights = stem.weights(numpy_helper.to_array(model.graph.initializer[0]))
    read = picture.reshape(1, HEIGHT, WIDTH // PIXELS, -1).transpose(0, 3, 1, 2)
    node = helper.make_node("Conv", ["x", "w"], ["y"], **stem.attributes)
    values = [read.astype(np.float32), weights]
    told = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in "xwy"]
    graph = helper.make_graph([node], "g", told[:2], told[2:])
    opset = [helper.make_opsetid("", 17)]
    conv = ReferenceEvaluator(helper.make_model(graph, opset_imports=opset))
    (y,) = conv.run(None, dict(zip("xw", values, strict=True)))
    rows, channels = y.shape[2], y.shape[1] // stem.outputs
    return y.transpose(0, 2, 3, 1).reshape(1, rows, -1, channels).transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("kernel", "stride", "pad"), [(3, 2, 1), (6, 2, 2), (3, 1, 1), (4, 4, 0), (5, 2, 2), (1, 1, 0)]
)
def test_it_computes_what_it_did(kernel, stride, pad):
    model = first(kernel, stride, pad)
    stem = stem_of(model)
    assert stem.grouped
    picture = np.random.default_rng(1).integers(0, 256, (1, HEIGHT, WIDTH, 3), np.uint8)
    (expected,) = ReferenceEvaluator(model).run(None, {"frames": picture})
    np.testing.assert_array_equal(run_by_fours(model, stem, picture), expected)


@pytest.mark.parametrize(
    "kind",
    [
        {"kernel": 3, "pad": 0},  # its output is narrower
        {"channels": 6},
        {"kernel": 3, "stride": 1, "channels": 64},  # as many zeros as cost more than copying
        {"kernel": 3, "dilations": [2, 2], "pad": 2},
    ],
)
def test_where_it_does_not_pay_or_fit_only_colours_are_put_in_order(kind):
    stem = stem_of(first(**kind))
    assert not stem.grouped
    values = np.arange(3.0).reshape(1, 3, 1, 1)
    assert stem.weights(values).ravel().tolist() == [2, 1, 0]


def test_a_width_that_is_no_multiple_of_four_is_read_pixel_by_pixel():
    assert not stem_of(first(), (HEIGHT, WIDTH + 2)).grouped


def test_there_is_none_where_more_than_colours_moves():
    assert stem_of(first(moves=((0, 3, 2, 1), (2, 1, 0)))) is None
    assert stem_of(first(moves=((0, 3, 1, 2), (0, 0, 1)))) is None


def _strided():
    model = network()
    conv = next(node for node in model.graph.node if node.output[0] == "c1")
    conv.attribute.append(helper.make_attribute("strides", [2, 2]))
    return model


def _rectified():
    model = _strided()
    gate = next(node for node in model.graph.node if node.output[0] == "g1")
    model.graph.node.remove(gate)
    activation = next(node for node in model.graph.node if node.output[0] == "s1")
    activation.op_type = "Relu"
    del activation.input[1:]
    return model


@pytest.mark.parametrize("model", [network(), _strided(), _rectified()], ids=["1", "2", "relu"])
def test_the_graph_gives_the_same_to_the_bit(model, monkeypatch):
    measured = measure(model, frames())
    by_fours = measured.encode_cpu([])
    assert "frames/grouped" in {node.output[0] for node in by_fours.graph.node}
    monkeypatch.setattr("calibration.stem._MOST_EXTRA", -1)
    one_by_one = measured.encode_cpu([])
    assert "frames/grouped" not in {node.output[0] for node in one_by_one.graph.node}
    np.testing.assert_array_equal(scores(by_fours, frames()), scores(one_by_one, frames()))


def test_onnxruntime_moves_no_pixel_before_the_first_convolution(tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    graph = measure(_strided(), frames()).encode_cpu([])
    onnxruntime.InferenceSession(
        graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    optimised = onnx.load(tmp_path / "optimised.onnx").graph.node
    front = [node.op_type for node in optimised]
    assert front[:2] == ["Reshape", "QLinearConv"]
    assert "Transpose" not in front[: front.index("QLinearSigmoid")]


@pytest.mark.parametrize("offset", [0, 127])
def test_kept_in_float_it_reads_the_frames_too(offset):
    model = network()
    if offset:
        planes = next(node for node in model.graph.node if node.output[0] == "pixels")
        planes.input[0] = "centred"
        centre = helper.make_node("Sub", ["planes", "offset"], ["centred"])
        model.graph.node.insert(list(model.graph.node).index(planes), centre)
        model.graph.initializer.append(numpy_helper.from_array(np.float32(offset), "offset"))
    measured = measure(model, frames())
    graph = measured.encode_cpu([layer.name for layer in measured.layers])
    ops = [node.op_type for node in graph.graph.node]
    assert ops[: ops.index("Conv") + 1] == ["Transpose", "Cast", *["Sub"] * (offset > 0), "Conv"]
    np.testing.assert_allclose(scores(graph, frames()), scores(model, frames()), atol=1e-5)
