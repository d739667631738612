"""A small SSD with random weights and torchvision's post-processing: outputs of open number."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.networks import STRIDES, WIDTH, _conv, _stem
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


def dense(*, labels=3, centred=False, named=True, threshold=0.05, growth=1.0):
    """A RetinaNet, or with `centred` an FCOS: each map's anchors are picked by their scores.

    The outputs are called so only where `named`. Nothing on noise is over a `threshold` of 0.99.
    Another `growth` than 1 is a decoding of one's own.
    """
    model, graph, features = _stem((SIDE, SIDE), 1, 17, seed=11, scale=1.0)
    rng = np.random.default_rng(11)
    found = []
    for stride, feature in zip(STRIDES, features, strict=True):
        anchors = _anchors(stride)
        scores = graph.op("Sigmoid", _flat(graph, feature, rng, labels, -0.5))
        deltas = _flat(graph, feature, rng, 4, 0.5)
        if centred:
            heard = graph.op("Sigmoid", _flat(graph, feature, rng, 1, 0.0))
            scores = graph.op("Sqrt", graph.op("Mul", scores, heard))
            deltas = graph.op("Relu", deltas)
        place = _over(graph, graph.reshape(scores, (-1,)), threshold)
        anchor = graph.op("Div", place, graph.constant(labels, np.int64))
        label = graph.op("Mod", place, graph.constant(labels, np.int64))
        base = graph.op("Gather", graph.constant(anchors), anchor, axis=0)
        delta = graph.op("Gather", deltas, anchor, axis=0)
        score = graph.op("Gather", graph.reshape(scores, (-1,)), place, axis=0)
        found.append((_picked(graph, base, delta, centred, growth), score, label))
    parts = (graph.op("Concat", *level, axis=0) for level in zip(*found, strict=True))
    chosen = _kept(graph, *parts)
    kinds = (TensorProto.FLOAT, TensorProto.FLOAT, TensorProto.INT64)
    for name, tensor, kind in zip(("boxes", "scores", "labels"), chosen, kinds, strict=True):
        public = name if named else f"{1000 + len(model.graph.output)}"
        graph.publish(tensor, public)
        shape = ["n", 4] if name == "boxes" else ["n"]
        model.graph.output.append(helper.make_tensor_value_info(public, kind, shape))
    return model


def _anchors(stride):
    """Return squares of 1.5 strides round the middles of a map's cells, (n, 4)."""
    y, x = np.mgrid[: SIDE // stride, : SIDE // stride] * stride + stride / 2
    middle = np.stack([x.ravel(), y.ravel()], 1)
    return np.hstack([middle - 0.75 * stride, middle + 0.75 * stride]).astype(np.float32)


def _flat(graph, feature, rng, columns, bias):
    """Return (n, columns) of a map."""
    head = _conv(graph, feature, rng, channels=(WIDTH, columns), bias=bias)
    return graph.reshape(graph.op("Transpose", head, perm=[0, 2, 3, 1]), (-1, columns))


def _over(graph, scores, threshold):
    over = graph.op("Greater", scores, graph.constant(threshold))
    return graph.squeeze(graph.op("NonZero", over), 0)


def _picked(graph, base, delta, centred, growth):
    low, high = graph.slice(base, 1, 0, 2), graph.slice(base, 1, 2, 4)
    size = graph.op("Mul", graph.op("Sub", high, low), graph.constant(growth))
    middle = graph.op("Mul", graph.op("Add", low, high), graph.constant(0.5))
    if centred:
        low = graph.op("Sub", middle, graph.op("Mul", graph.slice(delta, 1, 0, 2), size))
        high = graph.op("Add", middle, graph.op("Mul", graph.slice(delta, 1, 2, 4), size))
    else:
        middle = graph.op("Add", middle, graph.op("Mul", graph.slice(delta, 1, 0, 2), size))
        half = graph.op("Mul", graph.op("Exp", graph.slice(delta, 1, 2, 4)), size)
        half = graph.op("Mul", half, graph.constant(0.5))
        low, high = graph.op("Sub", middle, half), graph.op("Add", middle, half)
    within = graph.op("Max", graph.op("Concat", low, high, axis=1), graph.constant(0.0))
    return graph.op("Min", within, graph.constant(float(SIDE)))


def _kept(graph, boxes, scores, labels):
    """Suppress per label, as torchvision does: boxes of different labels are moved apart."""
    apart = graph.op("Mul", graph.op("Cast", labels, to=1), graph.constant(1000.0))
    moved = graph.unsqueeze(graph.op("Add", boxes, graph.unsqueeze(apart, 1)), 0)
    rows = graph.unsqueeze(graph.unsqueeze(scores, 0), 0)
    limits = graph.constant([9999], np.int64), graph.constant([0.5]), graph.constant([0.0])
    kept = graph.op("NonMaxSuppression", moved, rows, *limits)
    kept = graph.squeeze(graph.slice(kept, 1, 2, 3), 1)
    return [graph.op("Gather", tensor, kept, axis=0) for tensor in (boxes, scores, labels)]


def _boxes(graph, features, rng, scale):
    prior = priors((SIDE, SIDE)) * scale
    raw = _heads(graph, features, rng, 4)
    shift = graph.op("Mul", graph.slice(raw, 2, 0, 2), graph.constant(0.1 * prior[:, 2:]))
    centre = graph.op("Add", shift, graph.constant(prior[:, :2]))
    grown = graph.op("Exp", graph.op("Mul", graph.slice(raw, 2, 2, 4), graph.constant(0.2)))
    half = graph.op("Mul", grown, graph.constant(prior[:, 2:] / 2))
    return graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2)
