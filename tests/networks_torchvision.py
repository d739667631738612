"""A small SSD with random weights and torchvision's post-processing: outputs of open number."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.networks import _stem
from tests.networks_ssd import _heads, priors

SIDE = 64


def torchvision(*, labels=3, two_stages=False, decoded_late=False, iou=0.45):
    """`boxes` (n, 4) in pixels, `scores` (n), `labels` (n) from 1 on.

    `two_stages`: features are pooled from the boxes. `decoded_late`: only what is over the
    threshold is scaled to pixels, so that no tensor of fixed shape holds the boxes.
    """
    model, graph, features = _stem((SIDE, SIDE), 1, 17, seed=10, scale=1.0)
    rng = np.random.default_rng(10)
    logits = _heads(graph, features, rng, 1 + labels)
    shares = graph.op("Softmax", logits, axis=2)
    corners = graph.reshape(_boxes(graph, features, rng, 1 if decoded_late else SIDE), (1, -1, 4))
    shown = graph.op("Transpose", graph.slice(shares, 2, 1, 1 + labels), perm=[0, 2, 1])
    most = graph.constant([50], np.int64)
    thresholds = graph.constant([iou]), graph.constant([0.01])
    chosen = graph.op("NonMaxSuppression", corners, shown, most, *thresholds)
    label, anchor = (graph.squeeze(graph.slice(chosen, 1, i, i + 1), 1) for i in (1, 2))
    boxes = graph.op("Gather", graph.squeeze(corners, 0), anchor, axis=0)
    if decoded_late:
        boxes = graph.op("Mul", boxes, graph.constant(SIDE))
    scores = graph.op("GatherND", shown, chosen)
    if two_stages:
        frames = graph.op("Mul", label, graph.constant(0, np.int64))
        pooled = graph.op("RoiAlign", features[0], boxes, frames, output_height=1, output_width=1)
        scores = graph.op("Add", scores, graph.op("ReduceMean", pooled, axes=[1, 2, 3], keepdims=0))
    outputs = {
        "boxes": (boxes, TensorProto.FLOAT, ["n", 4]),
        "scores": (scores, TensorProto.FLOAT, ["n"]),
        "labels": (
            graph.op("Add", label, graph.constant(1, np.int64)), TensorProto.INT64, ["n"],
        ),
    }  # fmt: skip
    for name, (tensor, kind, shape) in outputs.items():
        graph.publish(tensor, name)
        model.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def _boxes(graph, features, rng, scale):
    prior = priors((SIDE, SIDE)) * scale
    raw = _heads(graph, features, rng, 4)
    shift = graph.op("Mul", graph.slice(raw, 2, 0, 2), graph.constant(0.1 * prior[:, 2:]))
    centre = graph.op("Add", shift, graph.constant(prior[:, :2]))
    grown = graph.op("Exp", graph.op("Mul", graph.slice(raw, 2, 2, 4), graph.constant(0.2)))
    half = graph.op("Mul", grown, graph.constant(prior[:, 2:] / 2))
    return graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2)
