"""No sum of two products leaves 16 bits, so that every CPU computes the same."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper, numpy_helper

from calibration.products import LARGEST, fitted, largest_sums
from calibration.quantise import quantise
from calibration.rounding import compensated
from calibration.scales import weights
from edge.detector.onnxruntime import products_fit
from tests.calibration_network import frames, network

SHAPES = st.sampled_from([(3, 2, 1, 1), (2, 4, 3, 3), (2, 3, 3, 3), (1, 6, 1, 2), (2, 5, 2, 2)])


def sums(integers):
    """Return every sum of what is multiplied side by side, by the largest activation."""
    channels = integers.shape[1]
    rows = integers.reshape(len(integers), channels, -1).astype(int).swapaxes(1, 2)
    if channels % 2 == 0:
        pairs = rows.reshape(len(rows), -1, 2)
    else:
        flat = np.concatenate([r.reshape(1, -1) for r in [*rows, *rows[:, :, ::-1]]])
        pairs = np.stack([flat[:, :-1], flat[:, 1:]], axis=-1)
    highest = 255 * np.maximum(pairs, 0).sum(axis=-1)
    lowest = 255 * np.minimum(pairs, 0).sum(axis=-1)
    return highest.max(), lowest.min()


def fits(integers):
    highest, lowest = sums(integers)
    return highest <= np.iinfo(np.int16).max and lowest >= np.iinfo(np.int16).min


def filters(kind, low, high):
    return SHAPES.flatmap(
        lambda shape: arrays(kind, shape, elements=st.integers(low, high).map(kind))
    )


@given(filters(np.int8, -127, 127))
def test_what_is_fitted_fits(integers):
    assert fits(fitted(integers))


@given(filters(np.int8, -127, 127))
def test_what_fits_stays(integers):
    once = fitted(integers)
    np.testing.assert_array_equal(fitted(once), once)
    np.testing.assert_array_equal(fitted(integers // 2), integers // 2)


@given(filters(np.float32, -1000, 1000))
def test_rounded_weights_fit_and_are_within_half_a_step(values):
    found = weights(values, np.zeros(len(values), np.float32), 0.01)
    assert fits(found.integers)
    steps = found.scales.reshape(-1, 1, 1, 1)
    assert (np.abs(found.restored() - values) <= steps * 0.5001).all()


def test_weights_that_make_up_for_one_another_fit():
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (8, 16, 3, 3)).astype(np.float32)
    inputs = rng.normal(0, 1, (400, 144)) @ rng.normal(0, 1, (144, 144))
    steps = weights(values, np.zeros(8, np.float32), 0.01).scales
    assert fits(compensated(values, steps, np.cov(inputs.T)[None]))


def test_neighbours_of_two_signs_and_depthwise_filters_lose_nothing():
    signs = np.float32([1, -1]).reshape(1, 2, 1, 1)
    assert largest_sums(signs).tolist() == [1]
    assert largest_sums(np.ones((4, 1, 3, 3), np.float32)).tolist() == [0] * 4
    assert LARGEST == 32767 // 255


def convolution(integers, groups, size=9):
    """Return an integer convolution of a white picture."""
    count = len(integers)
    constants = {
        "s": np.float32(1), "z": np.uint8(0), "big": np.float32(4000), "middle": np.uint8(128),
        "w": integers, "ws": np.ones(count, np.float32), "wz": np.zeros(count, np.int8),
    }  # fmt: skip
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["real"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["weights"], axis=0),
        helper.make_node("Conv", ["real", "weights"], ["sum"], group=groups),
        helper.make_node("QuantizeLinear", ["sum", "big", "middle"], ["y"]),
    ]
    channels = integers.shape[1] * groups
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, channels, size, size])],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize(
    ("shape", "groups"),
    [
        ((16, 16, 3, 3), 1),
        ((8, 16, 3, 3), 1),
        ((16, 8, 1, 1), 1),
        ((16, 3, 3, 3), 1),
        ((16, 4, 3, 3), 4),
        ((16, 1, 3, 3), 16),
        ((6, 1, 3, 3), 6),
    ],
)
def test_onnxruntime_cuts_nothing_off_as_it_comes(shape, groups):
    rng = np.random.default_rng(1)
    integers = fitted(
        rng.integers(60, 128, shape).astype(np.int8)
        * rng.choice([-1, 1], (shape[0], 1, 1, 1)).astype(np.int8)
    )
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        convolution(integers, groups).SerializeToString(),
        options,
        providers=["CPUExecutionProvider"],
    )
    white = np.full((1, shape[1] * groups, 9, 9), 255, np.uint8)
    (found,) = session.run(None, {"x": white})
    expected = np.rint(integers.reshape(shape[0], -1).sum(axis=1, dtype=int) * 255 / 4000) + 128
    np.testing.assert_array_equal(found[0, :, 4, 4], np.clip(expected, 0, 255))


def test_the_run_time_knows_it_of_both_encodings(tmp_path):
    measured = quantise(network(), frames())
    for graph in (measured.cpu, measured.tensorrt):
        assert products_fit(graph.SerializeToString())
        onnx.save(graph, tmp_path / "model.onnx")
        assert products_fit(tmp_path / "model.onnx")
    assert not products_fit(network().SerializeToString())


def test_widened_products_are_the_same():
    graph = quantise(network(), frames()).cpu
    found = []
    for widened in ("0", "1"):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", widened)
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found.append([session.run(["scores"], {"frames": x[None]})[0] for x in frames()])
    np.testing.assert_array_equal(*found)
