"""A small EfficientDet with random weights, in the maps that effdet's networks give."""

from __future__ import annotations

import numpy as np

from tests.networks import WIDTH, _conv, _publish, _stem

LEVELS = (8, 16, 32, 64, 128)
EACH = 9


def efficientdet(*, labels=3, size=(128, 128), batch=1, sigmoid=False, levels=LEVELS):
    """Maps (batch, 9 * labels, h, w) of logits for each stride, then maps (batch, 36, h, w)."""
    model, graph, features = _stem(size, batch, 17, seed=10, scale=0.3)
    rng = np.random.default_rng(10)
    while len(features) < len(levels):
        raw = _conv(graph, features[-1], rng, channels=(WIDTH, WIDTH), stride=2, gain=2)
        features.append(graph.op("Relu", raw))
    outputs = {}
    for kind, columns in (("scores", labels), ("boxes", 4)):
        for stride, feature in zip(levels, features, strict=False):
            bias, gain = (-2.0, 1.0) if kind == "scores" else (0.0, 0.3)
            raw = _conv(graph, feature, rng, channels=(WIDTH, EACH * columns), bias=bias, gain=gain)
            if sigmoid and kind == "scores":
                raw = graph.op("Sigmoid", raw)
            cells = [-(-size[1] // stride), -(-size[0] // stride)]
            outputs[raw] = (f"{kind}{stride}", [batch, EACH * columns, *cells])
    _publish(model, graph, outputs)
    return model
