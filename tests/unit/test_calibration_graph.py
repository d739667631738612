"""From a float graph and frames to INT8 graphs: what is quantised, what is not, what is refused."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.errors import CalibrationError
from calibration.fold import fold
from calibration.groups import groups, integer_nodes
from calibration.local_error import local_errors
from calibration.prelude import find_prelude
from calibration.quantise import measure, quantise
from calibration.scales import Scale, unsigned
from calibration.tail import body, influence, last_convolutions
from calibration.topology import Topology
from tests.calibration_network import SIZE, distances, frames, network, scores, two_stages


@pytest.fixture(scope="module")
def calibrated():
    return quantise(network(), frames())


# --- what is the tail


def test_the_tail_is_what_no_convolution_follows():
    topology = Topology(network())
    nodes = body(topology)
    assert [node.op_type for node in nodes].count("Conv") == 4
    assert "scores" not in {name for node in nodes for name in node.output}
    assert [node.output[0] for node in last_convolutions(topology, nodes)] == ["c4"]


def test_the_convolution_that_averages_a_softmax_is_the_tails():
    topology = Topology(distances())
    nodes = body(topology)
    assert [node.output[0] for node in nodes] == ["cast", "pixels", "c1"]
    assert [node.output[0] for node in last_convolutions(topology, nodes)] == ["c1"]


def test_what_chooses_where_to_look_is_a_tail_though_convolutions_follow():
    topology = Topology(two_stages())
    nodes = body(topology)
    ops = {node.op_type for node in nodes}
    assert ops == {"Cast", "Transpose", "Conv", "Relu", "RoiAlign"}
    assert [node.output[0] for node in last_convolutions(topology, nodes)] == ["c2", "c4"]


def test_regions_are_pooled_in_float_and_looked_at_in_8_bits():
    calibrated = quantise(two_stages(), frames())
    for model in (calibrated.cpu, calibrated.tensorrt):
        made = {name: node.op_type for node in model.graph.node for name in node.output}
        read = {node.output[0]: [made.get(n) for n in node.input] for node in model.graph.node}
        assert read["c3"][:2] == ["DequantizeLinear"] * 2
        assert read["best"][0] == "Add"
        assert made["pooled"] == "RoiAlign"
        assert np.abs(scores(model, frames()) - scores(two_stages(), frames())).mean() < 0.01


def test_influence_is_the_share_of_the_heads_behind_a_tensor():
    model = network()
    model.graph.node.append(onnx.helper.make_node("Conv", ["s1", "w4"], ["other"]))
    topology = Topology(model)
    found = influence(topology, body(topology))
    assert (found["s1"], found["r3"], found["other"]) == (1, 0.5, 0.5)


# --- what shares a scale, and how pixels become numbers


def test_what_is_concatenated_shares_one_scale():
    topology = Topology(network())
    nodes = integer_nodes(topology, find_prelude(topology))
    assert {"s1", "s2", "both"} in [set(group) for group in groups(topology, nodes)]


def test_what_a_relu_cuts_off_gets_no_scale_of_its_own():
    topology = Topology(network())
    nodes = integer_nodes(topology, find_prelude(topology))
    assert "c3" not in {name for group in groups(topology, nodes) for name in group}


def test_pixels_are_the_quantised_input_already():
    prelude = find_prelude(Topology(network()))
    assert prelude.tensor == "pixels"
    assert prelude.scale == Scale(float(np.float32(1 / 255)), 0)


def test_factors_that_differ_by_channel_are_no_scale():
    factors = np.float32([1, 2, 3]).reshape(1, 3, 1, 1)
    prelude = find_prelude(Topology(network(scale=factors)))
    assert (prelude.tensor, prelude.scale) == ("pixels", None)


def test_the_image_is_not_rounded_a_second_time(calibrated):
    assert not any(
        node.op_type == "QuantizeLinear" and node.input[0] in ("pixels", "planes", "cast")
        for node in calibrated.cpu.graph.node
    )


# --- what comes out


@pytest.mark.parametrize("encoding", ["cpu", "tensorrt"])
@pytest.mark.parametrize(
    "kind", [{}, {"dead": True}, {"scale": [[[1 / 255]], [[0.01]], [[0.002]]]}]
)
def test_int8_gives_nearly_what_float_gives(encoding, kind):
    model = network(**kind)
    int8 = getattr(quantise(model, frames()), encoding)
    assert np.abs(scores(int8, frames()) - scores(model, frames())).mean() < 0.005


def test_onnxruntime_computes_it_in_integers(calibrated, tmp_path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(
        calibrated.cpu.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    ops = [node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert ops.count("QLinearConv") == 3
    assert {"QLinearSigmoid", "QLinearMul", "QLinearConcat"} <= set(ops)
    assert len([op for op in ops if op in ("Conv", "FusedConv")]) == 1  # the last: it is the score


def test_tensorrts_encoding_is_symmetric_int8_at_the_inputs_of_convolutions(calibrated):
    graph = calibrated.tensorrt.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    pairs = [node for node in graph.node if node.op_type == "QuantizeLinear"]
    zeros = [constants[node.input[2]] for node in pairs]
    assert {node.input[0] for node in pairs} == {"pixels", "s1", "both"}
    assert all(zero.dtype == np.int8 and not zero.any() for zero in zeros)
    concatenation = next(node for node in graph.node if node.op_type == "Concat")
    assert list(concatenation.input) == ["s1", "s2"]


def test_the_same_frames_give_the_same_bytes(calibrated):
    again = quantise(network(), frames())
    assert again.cpu.SerializeToString() == calibrated.cpu.SerializeToString()
    assert again.tensorrt.SerializeToString() == calibrated.tensorrt.SerializeToString()


def test_what_is_given_is_not_changed():
    model = network()
    before = model.SerializeToString()
    quantise(model, frames())
    assert model.SerializeToString() == before


def test_a_convolution_that_8_bits_would_drown_stays_float(calibrated):
    wild = quantise(network(spread=300.0), frames()).report["cpu"]["kept_float"]
    assert calibrated.report["cpu"]["kept_float"] == {}
    assert "c2" in wild


def test_progress_is_told_to_its_end():
    told = []
    quantise(network(), frames(3), progress=lambda *step: told.append(step))
    assert ("measuring ranges", 3, 3) in told
    assert ("comparing layers", 3, 3) in told


# --- what is left in float, on demand


@pytest.fixture(scope="module")
def measured():
    return measure(network(), frames())


def test_layers_are_the_convolutions_that_can_run_in_8_bits(measured):
    assert [layer.name for layer in measured.layers] == ["c1", "c2", "c3"]
    # 8x3x3x3, 8x8x3x3 and 8x16 of these and 4x8 multiplications per pixel
    shares = [layer.share for layer in measured.layers]
    assert shares == pytest.approx([216 / 952, 576 / 952, 128 / 952])


@pytest.mark.parametrize("encoding", ["encode_cpu", "encode_tensorrt"])
def test_everything_in_float_is_the_float_graph(measured, encoding):
    model = getattr(measured, encoding)(["c1", "c2", "c3"])
    assert not any(node.op_type == "QuantizeLinear" for node in model.graph.node)
    np.testing.assert_allclose(scores(model, frames()), scores(network(), frames()), atol=1e-6)


@pytest.mark.parametrize("encoding", ["encode_cpu", "encode_tensorrt"])
def test_a_layer_in_float_brings_the_graph_nearer_to_float(measured, encoding):
    wanted = scores(network(), frames())
    error = [
        np.abs(scores(getattr(measured, encoding)(kept), frames()) - wanted).mean()
        for kept in ([], ["c2"], ["c1", "c2", "c3"])
    ]
    assert error[0] > error[1] > error[2]


def test_a_layer_that_is_none_is_refused(measured):
    with pytest.raises(CalibrationError, match="found c9"):
        measured.encode({"cpu": ["c9"]})


# --- local errors


def test_noise_is_what_rounding_does_and_falls_with_the_square_of_the_step():
    model = fold(network())
    topology = Topology(model)

    def noise(step):
        scales = {"pixels": unsigned(0, 1), "s1": Scale(step, 10)}
        found = local_errors(model, topology, set(), scales, {}, frames(), lambda _: None)
        return found["c2"].noise

    assert noise(0.1) / noise(0.05) == pytest.approx(4, rel=0.3)


def test_a_shift_of_the_input_is_seen_as_a_shift_of_the_output():
    model = fold(network())
    topology = Topology(model)
    scales = {"s1": Scale(0.01, 0)}  # cuts off all that is below zero
    found = local_errors(model, topology, set(), scales, {}, frames(), lambda _: None)["c2"]
    kernel = next(numpy_helper.to_array(t) for t in model.graph.initializer if t.name == "w2")
    (s1,) = zip(*_activations(model, ["s1"]), strict=True)
    cut = np.mean([np.maximum(-x[0], 0).mean(axis=(1, 2)) for x in s1], axis=0)
    expected = kernel.sum(axis=(2, 3)) @ cut  # but for the image's edge
    np.testing.assert_allclose(found.shift, expected, atol=0.1 * np.abs(expected).max())


def _activations(model, names):
    from calibration.observe import activations

    return activations(model, names, frames())


# --- what is refused


@pytest.mark.parametrize(
    ("pictures", "message"),
    [
        ([], "expected at least one"),
        ([np.zeros((4, 4), np.uint8)], "calibration frame 0"),
        ([np.zeros((16, 16, 3), np.float32)], "calibration frame 0"),
        ([np.zeros((16, 16, 3), np.uint8), np.zeros((8, 8, 3), np.uint8)], "calibration frame 1"),
    ],
)
def test_frames_that_are_none_are_refused(pictures, message):
    with pytest.raises(CalibrationError, match=message):
        quantise(network(), pictures)


def test_a_network_that_is_quantised_already_is_refused_with_the_remedy(calibrated):
    with pytest.raises(CalibrationError, match="export the trained model again"):
        quantise(calibrated.cpu, frames())


def test_a_network_that_overflows_is_refused_by_tensor():
    model = network()
    weights = next(tensor for tensor in model.graph.initializer if tensor.name == "w2")
    weights.CopyFrom(numpy_helper.from_array(np.full((8, 8, 3, 3), 3e38, np.float32), "w2"))
    with pytest.raises(CalibrationError, match=r"tensor \w+ on calibration frame 0"):
        quantise(model, frames())


# --- one layer by itself


@pytest.mark.parametrize("encoding", ["cpu", "tensorrt"])
def test_one_layer_alone_in_8_bits_leaves_all_others_as_they_are(measured, encoding):
    for name in measured.sparable(encoding):
        graph = measured.alone(encoding, name)
        weights = [n.output[0] for n in graph.graph.node if n.output[0].endswith("/weight/dq")]
        assert weights == [f"{name}/weight/dq"]
        error = np.abs(scores(graph, frames()) - scores(network(), frames())).mean()
        assert 0 < error < 0.01


def test_on_the_cpu_the_convolution_before_it_goes_to_float_with_a_layer(measured):
    taken = {
        name: [layer.name for layer in layers] for name, layers in measured.sparable("cpu").items()
    }
    # c3 reads a concatenation: both its parts must be there in float.
    assert taken == {"c1": ["c1"], "c2": ["c1", "c2"], "c3": ["c1", "c2", "c3"]}


def test_for_tensorrt_a_layer_goes_to_float_by_itself(measured):
    assert {
        name: [layer.name for layer in layers]
        for name, layers in measured.sparable("tensorrt").items()
    } == {"c1": ["c1"], "c2": ["c2"], "c3": ["c3"]}


def test_multiplications_are_counted_over_all_convolutions(measured):
    places = SIZE * SIZE
    inner = 8 * 3 * 9 + 8 * 8 * 9 + 8 * 16 + 4 * 8

    assert measured.multiplications == pytest.approx(places * inner)
