"""Weights are rounded for the least error of what comes out, not of each weight."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from calibration import covariance as covariance_module
from calibration.covariance import covariances
from calibration.fold import fold
from calibration.rounding import compensated
from calibration.topology import Topology
from tests.calibration_network import SIZE, frames, network


def spoiled(values, integers, scales, covariance):
    """Return the variance that rounding adds to each output."""
    groups, size, _ = covariance.shape
    shape = (-1,) + (1,) * (values.ndim - 1)
    error = (integers * scales.reshape(shape) - values).reshape(groups, -1, size)
    return np.einsum("gok,gkl,gol->go", error, covariance, error).reshape(-1)


def correlated(groups, size, seed=0):
    mixing = np.random.default_rng(seed).normal(0, 1, (groups, size, 3))
    return mixing @ mixing.swapaxes(1, 2) + 0.02 * np.eye(size)


@pytest.mark.parametrize(
    ("shape", "groups"), [((16, 12, 3, 3), 1), ((16, 1, 3, 3), 16), ((16, 6, 1, 1), 2)]
)
def test_errors_of_some_weights_make_up_for_those_of_others(shape, groups):
    values = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)
    scales = np.full(len(values), 0.05, np.float32)
    covariance = correlated(groups, int(np.prod(shape[1:])))
    nearest = np.rint(values / 0.05)
    found = compensated(values, scales, covariance)
    wasted = [spoiled(values, each, scales, covariance).sum() for each in (found, nearest)]
    assert wasted[0] < 0.6 * wasted[1]


def test_independent_inputs_leave_nothing_to_make_up():
    values = np.random.default_rng(1).normal(0, 1, (8, 5, 1, 1)).astype(np.float32)
    scales = np.full(8, 0.05, np.float32)
    found = compensated(values, scales, np.eye(5)[None])
    assert (found == np.rint(values / 0.05)).all()


def test_a_large_filter_is_rounded_block_by_block():
    values = np.random.default_rng(1).normal(0, 1, (4, 6, 3, 3)).astype(np.float32)
    scales = np.linspace(0.03, 0.06, 4, dtype=np.float32)
    covariance = correlated(2, 27)
    halves = [
        compensated(half, scales, block[None])
        for half, block in zip((values[:, :3], values[:, 3:]), covariance, strict=True)
    ]
    found = compensated(values, scales, covariance)
    np.testing.assert_array_equal(found, np.concatenate(halves, axis=1))


def test_integers_stay_within_8_bits():
    values = np.full((2, 3, 1, 1), 9.0, np.float32)
    found = compensated(values, np.full(2, 0.05, np.float32), correlated(1, 3))
    assert found.dtype == np.int8
    assert np.abs(found.astype(int)).max() <= 127


def test_inputs_that_never_vary_are_no_trouble():
    values = np.random.default_rng(1).normal(0, 1, (4, 6, 1, 1)).astype(np.float32)
    found = compensated(values, np.full(4, 0.05, np.float32), np.zeros((1, 6, 6)))
    assert (found == np.rint(values / 0.05)).all()


def test_a_large_filters_covariance_is_taken_in_blocks_of_channels(monkeypatch):
    monkeypatch.setattr(covariance_module, "_LARGEST", 40)
    model = fold(network())
    topology = Topology(model)
    convs = [topology.producer["c2"]]
    blocks = covariances(model, topology, convs, frames(), lambda _: None)["c2"]
    monkeypatch.setattr(covariance_module, "_LARGEST", 100)
    (whole,) = covariances(model, topology, convs, frames(), lambda _: None)["c2"]
    assert blocks.shape == (2, 36, 36)
    np.testing.assert_allclose(blocks[0], whole[:36, :36], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(blocks[1], whole[36:, 36:], rtol=1e-3, atol=1e-3)


def test_inputs_that_hardly_vary_around_a_large_mean_are_told_apart():
    """As what a squeeze of a still scene gives: the mean's square would hide the variance."""
    rng = np.random.default_rng(3)
    moments = covariance_module._Moments()
    spread = rng.normal(0, 0.003, (64, 50, 6)).astype(np.float32)
    rows = spread + np.float32(100)

    for frame in rows:
        moments.add(frame[None])

    wanted = np.cov(rows.reshape(-1, 6).T.astype(np.float64), bias=True)
    np.testing.assert_allclose(moments.covariance()[0], wanted, rtol=1e-3, atol=1e-8)


@pytest.mark.parametrize(
    ("groups", "attributes"),
    [
        (1, {"pads": [1, 1, 1, 1]}),
        (4, {"pads": [1, 1, 1, 1]}),
        (2, {"strides": [2, 1], "pads": [0, 2, 1, 0]}),
        (1, {"dilations": [2, 1]}),
    ],
)
def test_covariances_tell_how_the_outputs_vary(groups, attributes):
    """W C W' is the covariance of what the convolution itself gives, its bias apart."""
    rng = np.random.default_rng(3)
    weights = rng.normal(0, 1, (8, 4 // groups, 3, 3)).astype(np.float32)
    constants = {"w": weights, "first": rng.normal(0, 0.01, (4, 3, 1, 1)).astype(np.float32)}
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "first"], ["x"]),
        helper.make_node("Conv", ["x", "w"], ["y"], group=groups, **attributes),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [onnx.ValueInfoProto(name="y")],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    topology = Topology(model)
    found = covariances(model, topology, [topology.producer["y"]], frames(), lambda _: None)["y"]
    (told,) = _outputs(model)
    rows = weights.reshape(groups, 8 // groups, -1)
    wanted = np.cov(np.concatenate([y[0].reshape(8, -1) for y in told], axis=1), bias=True)
    predicted = rows @ found @ rows.swapaxes(1, 2)
    for group in range(groups):
        part = slice(group * 8 // groups, (group + 1) * 8 // groups)
        np.testing.assert_allclose(predicted[group], wanted[part, part], rtol=1e-3, atol=1e-4)


def _outputs(model):
    from calibration.observe import activations

    return zip(*activations(model, ["y"], frames()), strict=True)
