"""Small SSD detectors with random weights, in the shape that their exporters give them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.networks import WIDTH, _conv, _publish, _stem, anchor_count

PRIORS = 2


def ssd(*, labels=3, size=(64, 48), corners=True, softmax=True, names=("scores", "boxes")):
    """Scores (1, N, 1 + labels) and boxes (1, N, 4) around priors, decoded as pytorch-ssd does."""
    model, graph, features = _stem(size, 1, 17, seed=2, scale=1.0)
    rng = np.random.default_rng(2)
    scores = _heads(graph, features, rng, 1 + labels)
    raw = _heads(graph, features, rng, 4)
    prior = priors(size)
    if softmax:
        scores = graph.op("Softmax", scores, axis=2)
    shift = graph.op("Mul", graph.slice(raw, 2, 0, 2), graph.constant(0.1 * prior[:, 2:]))
    centre = graph.op("Add", shift, graph.constant(prior[:, :2]))
    grown = graph.op("Exp", graph.op("Mul", graph.slice(raw, 2, 2, 4), graph.constant(0.2)))
    sides = graph.op("Mul", grown, graph.constant(prior[:, 2:]))
    if corners:
        half = graph.op("Div", sides, graph.constant(2.0))
        parts = graph.op("Sub", centre, half), graph.op("Add", centre, half)
    else:
        parts = centre, sides
    boxes = graph.op("Concat", *parts, axis=2)
    count = PRIORS * anchor_count(size)
    outputs = {scores: (names[0], [1, count, 1 + labels]), boxes: (names[1], [1, count, 4])}
    _publish(model, graph, outputs)
    return model


def priors(size):
    """Two priors per cell, cxcywh in 0..1, float64 (N, 4)."""
    found = []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
        cells = np.stack([x, y], -1).reshape(-1, 2)
        centre = (cells + 0.5) * stride / np.array(size)
        for side in (2, 3):
            sides = np.full_like(centre, side * stride) / np.array(size)
            found.append(np.stack([centre, sides], 1).reshape(-1, 1, 4))
    pairs = [np.concatenate(found[i : i + PRIORS], 1).reshape(-1, 4) for i in range(0, 6, PRIORS)]
    return np.concatenate(pairs)


def _heads(graph, features, rng, columns):
    """Join each level's convolution, transposed to (1, N, columns)."""
    levels = []
    for feature in features:
        raw = _conv(graph, feature, rng, channels=(WIDTH, PRIORS * columns), gain=0.8)
        levels.append(
            graph.reshape(graph.op("Transpose", raw, perm=[0, 2, 3, 1]), (1, -1, columns))
        )
    return graph.op("Concat", *levels, axis=1)


def old_style(model):
    """List the weights among the inputs, as exporters did until IR version 3."""
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        )
    assert model.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    return model
