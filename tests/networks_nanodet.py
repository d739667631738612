"""Small NanoDets, FastestDets and YOLO-FastestV2s, untrained, as their exporters write them."""

from __future__ import annotations

import numpy as np
import onnx

from tests.networks import WIDTH, _conv, _publish, _stem


def nanodet(
    *, labels=3, size=(64, 128), strides=(8, 16, 32, 64), split=False, sigmoids=True, bins=8
):
    """One output (1, N, labels + 4 * bins), or with `split` two outputs per stride."""
    ends = 4 * bins
    model, graph, features = _stem(size, 1, 17, seed=8, scale=0.5)
    rng = np.random.default_rng(8)
    if len(strides) > len(features):
        deeper = _conv(graph, features[-1], rng, channels=(WIDTH, WIDTH), stride=2, gain=2)
        features.append(graph.op("Relu", deeper))
    rows, outputs = [], {}
    for stride, feature in zip(strides, features, strict=True):
        count = (size[0] // stride) * (size[1] // stride)
        scores = _conv(graph, feature, rng, channels=(WIDTH, labels), bias=-0.5)
        if sigmoids:
            scores = graph.op("Sigmoid", scores)
        sides = _conv(graph, feature, rng, channels=(WIDTH, ends), gain=2)
        if split:
            for name, tensor, columns in (("cls", scores, labels), ("dis", sides, ends)):
                flat = graph.reshape(tensor, (1, columns, count))
                turned = graph.op("Transpose", flat, perm=[0, 2, 1])
                outputs[turned] = (f"{name}_pred_stride_{stride}", [1, count, columns])
        else:
            level = graph.op("Concat", scores, sides, axis=1)
            rows.append(graph.reshape(level, (1, labels + ends, count)))
    if not split:
        joined = graph.op("Transpose", graph.op("Concat", *rows, axis=2), perm=[0, 2, 1])
        count = sum((size[0] // s) * (size[1] // s) for s in strides)
        outputs[joined] = ("output", [1, count, labels + ends])
    _publish(model, graph, outputs)
    return model


def fastestdet(*, labels=3, size=(64, 48), softmax=True):
    """One output (1, 5 + labels, h, w) at stride 16."""
    model, graph, features = _stem(size, 1, 17, seed=9, scale=1.0)
    rng = np.random.default_rng(9)
    objectness = graph.op("Sigmoid", _conv(graph, features[1], rng, channels=(WIDTH, 1)))
    box = _conv(graph, features[1], rng, channels=(WIDTH, 4), gain=1, bias=-0.5)
    scores = _conv(graph, features[1], rng, channels=(WIDTH, labels))
    if softmax:
        scores = graph.op("Softmax", scores, axis=1)
    joined = graph.op("Concat", objectness, box, scores, axis=1)
    shape = [1, 5 + labels, size[1] // 16, size[0] // 16]
    _publish(model, graph, {joined: ("output", shape)})
    return model


FASTEST_ANCHORS = np.array([[6, 9, 19, 25, 28, 69], [63, 39, 65, 107, 140, 129]], np.float32) / 4


def yolo_fastest(*, labels=3, size=(96, 64), stated=False):
    """Two outputs (1, h, w, 5 * 3 + labels): boxes, objectness, and labels that anchors share.

    Its anchors are in its metadata where they are `stated`.
    """
    model, graph, features = _stem(size, 1, 17, seed=9, scale=1.0)
    rng = np.random.default_rng(9)
    outputs = {}
    for stride, feature in zip((16, 32), features[1:], strict=True):
        box, heard, named = (
            _conv(graph, feature, rng, channels=(WIDTH, n), gain=1) for n in (12, 3, labels)
        )
        parts = graph.op("Sigmoid", box), graph.op("Sigmoid", heard)
        joined = graph.op("Concat", *parts, graph.op("Softmax", named, axis=1), axis=1)
        turned = graph.op("Transpose", joined, perm=[0, 2, 3, 1])
        shape = [1, size[1] // stride, size[0] // stride, 15 + labels]
        outputs[turned] = (f"{stride}", shape)
    _publish(model, graph, outputs)
    if stated:
        onnx.helper.set_model_props(model, {"anchors": repr(FASTEST_ANCHORS.tolist())})
    return model
