"""DetectNet_v2 with random weights, in the shape that TAO exports it."""

from __future__ import annotations

import numpy as np

from tests.networks import WIDTH, _conv, _publish, _stem

STRIDE = 16
NAMES = ("output_cov/Sigmoid:0", "output_bbox/BiasAdd:0")


def detectnet(*, labels=3, size=(96, 64), batch="N", names=NAMES):
    """Coverage (batch, labels, h, w) and boxes (batch, 4 * labels, h, w), at one stride."""
    model, graph, features = _stem(size, batch, 12, seed=0, scale=1.0)
    rng = np.random.default_rng(0)
    feature = features[1]
    logits = _conv(graph, feature, rng, channels=(WIDTH, labels), bias=-0.5)
    sides = _conv(graph, feature, rng, channels=(WIDTH, 4 * labels), bias=0.5)
    cells = [size[1] // STRIDE, size[0] // STRIDE]
    outputs = {
        graph.op("Sigmoid", logits): (names[0], [batch, labels, *cells]),
        sides: (names[1], [batch, 4 * labels, *cells]),
    }
    _publish(model, graph, outputs)
    return model
