"""A small network with all that matters here: SiLU, ReLU, a concatenation, a float tail."""

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from calibration.observe import activations

SIZE = 16


def network(spread=1.0, *, dead=False, scale=1 / 255):
    """Return a contract graph's like: frames to (b, 4, H, W) logits, then a sigmoid as its tail.

    `spread` makes one channel of the first convolution so much larger than the others; with `dead`
    its second convolution gives 0 everywhere. `scale` is the factor, or factors, of the pixels.
    """
    rng = np.random.default_rng(1)
    first = rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32)
    first[0] *= spread
    second = rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32)
    second[:, 0] /= spread
    constants = {
        "scale": np.float32(scale),
        "w1": first,
        "b1": rng.normal(0, 0.1, 8).astype(np.float32),
        "w2": second * (not dead),
        "w3": rng.normal(0, 0.2, (8, 16, 1, 1)).astype(np.float32),
        "w4": rng.normal(0, 0.2, (4, 8, 1, 1)).astype(np.float32),
    }
    padded = {"pads": [1, 1, 1, 1]}
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale"], ["pixels"]),
        helper.make_node("Conv", ["pixels", "w1", "b1"], ["c1"], **padded),
        helper.make_node("Sigmoid", ["c1"], ["g1"]),
        helper.make_node("Mul", ["c1", "g1"], ["s1"]),
        helper.make_node("Conv", ["s1", "w2"], ["c2"], **padded),
        helper.make_node("Sigmoid", ["c2"], ["g2"]),
        helper.make_node("Mul", ["c2", "g2"], ["s2"]),
        helper.make_node("Concat", ["s1", "s2"], ["both"], axis=1),
        helper.make_node("Conv", ["both", "w3"], ["c3"]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("Conv", ["r3", "w4"], ["c4"]),
        helper.make_node("Sigmoid", ["c4"], ["scores"]),
    ]
    return _model(nodes, constants)


def distances():
    """Return a network whose tail takes the expectation of a softmax with a convolution (DFL)."""
    rng = np.random.default_rng(1)
    constants = {
        "w1": rng.normal(0, 0.01, (16, 3, 1, 1)).astype(np.float32),
        "bins": np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "w1"], ["c1"]),
        helper.make_node("Transpose", ["c1"], ["moved"], perm=[0, 1, 3, 2]),
        helper.make_node("Softmax", ["moved"], ["likely"], axis=1),
        helper.make_node("Conv", ["likely", "bins"], ["scores"]),
    ]
    return _model(nodes, constants, channels=1)


def two_stages():
    """Return a network that looks again at the places where its first scores are best."""
    rng = np.random.default_rng(1)
    constants = {
        "w1": rng.normal(0, 0.01, (8, 3, 3, 3)).astype(np.float32),
        "w2": rng.normal(0, 0.2, (1, 8, 1, 1)).astype(np.float32),
        "w3": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32),
        "w4": rng.normal(0, 0.2, (4, 8, 3, 3)).astype(np.float32),
        "flat": np.int64([-1]),
        "k": np.int64([5]),
        "places": np.sort(rng.uniform(0, SIZE, (SIZE * SIZE, 2, 2)), axis=1)
        .reshape(-1, 4)
        .astype(np.float32),
        # So far apart that 8 bits cannot change which are best.
        "ranks": np.float32(1e3) * rng.permutation(SIZE * SIZE).astype(np.float32),
        "first": np.zeros(5, np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["pixels"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["pixels", "w1"], ["c1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2"], ["c2"]),
        helper.make_node("Reshape", ["c2", "flat"], ["row"]),
        helper.make_node("Add", ["row", "ranks"], ["ranked"]),
        helper.make_node("TopK", ["ranked", "k"], ["best", "index"]),
        helper.make_node("Gather", ["places", "index"], ["boxes"]),
        helper.make_node(
            "RoiAlign", ["r1", "boxes", "first"], ["pooled"], output_height=7, output_width=7
        ),
        helper.make_node("Conv", ["pooled", "w3"], ["c3"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c3"], ["r3"]),
        helper.make_node("Conv", ["r3", "w4"], ["c4"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["c4"], ["scores"]),
    ]
    return _model(nodes, constants, shape=[5, 4, 7, 7])


def frames(count=6):
    """Return letterboxed frames of noise, uint8 (H, W, 3) each."""
    rng = np.random.default_rng(2)
    return [rng.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(count)]


def scores(model, pictures):
    """Return what a network gives on frames, float32 (N, 4, H, W)."""
    return np.concatenate([values[0] for values in activations(model, ["scores"], pictures)])


def _model(nodes, constants, channels=4, shape=None):
    shape = shape or ["b", channels, SIZE, SIZE]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", SIZE, SIZE, 3])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
