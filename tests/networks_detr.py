"""Small DETRs with random weights, in the shape that their exporters give them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.networks import WIDTH, _publish, _stem

QUERIES = 20


def detr(
    *,
    labels=3,
    size=(64, 48),
    softmax=False,
    hybrid=True,
    patches=False,
    extra=False,
    chosen=False,
):
    """`logits` and `pred_boxes`, cxcywh in 0..1.

    `softmax`: with a last class for no object, which noise is; else logits that are low on noise.
    `hybrid`: a convolution behind attention; "projected": of 1x1.
    `patches`: a vision transformer's first convolution.
    `extra`: the decoder's last state beside it. `chosen`: the queries are the best of a top-k.
    """
    model, graph, queries, rng = _decoder(size, hybrid=hybrid, patches=patches)
    if chosen:
        queries = _best(graph, queries)
    state = graph.op("Identity", queries)
    logits = _head(graph, queries, rng, labels + softmax, bias=-3.0)
    if softmax:
        prior = np.float32([0] * labels + [3])
        logits = graph.op("Add", logits, graph.constant(prior))
    boxes = graph.op("Sigmoid", _head(graph, queries, rng, 4))
    outputs = {
        logits: ("logits", [1, QUERIES, labels + softmax]),
        boxes: ("pred_boxes", [1, QUERIES, 4]),
    }
    if extra:
        outputs[state] = ("last_hidden_state", [1, QUERIES, WIDTH])
    _publish(model, graph, outputs)
    return model


def ultralytics(*, labels=3, size=(64, 48), samples=True, rows=False, chosen=False):
    """One output (1, Q, 4 + labels), boxes and sigmoids, or `rows` (1, Q, 6) of the best pairs."""
    model, graph, queries, rng = _decoder(size, hybrid=True, samples=samples)
    if chosen:
        queries = _best(graph, queries)
    boxes = graph.op("Sigmoid", _head(graph, queries, rng, 4))
    shares = graph.op("Sigmoid", _head(graph, queries, rng, labels, bias=-2.0))
    if rows:
        pairs = graph.op("Flatten", shares, axis=1)
        best, index = graph.ops("TopK", 2, pairs, graph.constant([QUERIES], np.int64), axis=1)
        count = graph.constant(labels, np.int64)
        boxes = graph.gather_rows(boxes, graph.op("Div", index, count))
        label = graph.op("Cast", graph.op("Mod", index, count), to=1)
        shares = graph.op("Concat", graph.unsqueeze(best, 2), graph.unsqueeze(label, 2), axis=2)
    joined = graph.op("Concat", boxes, shares, axis=2)
    _publish(model, graph, {joined: ("output0", [1, QUERIES, 6 if rows else 4 + labels])})
    return model


def exported(*, labels=3, size=(64, 48), keep=15, patches=False, joined=True):
    """`labels`, `boxes` and `scores`, the best `keep` pairs, scaled to `orig_target_sizes`.

    Without `joined` the scores are each query's best, as no original does.
    """
    model, graph, queries, rng = _decoder(size, hybrid=True, patches=patches)
    shares = graph.op("Sigmoid", _head(graph, queries, rng, labels, bias=-1.5))
    boxes = graph.op("Sigmoid", _head(graph, queries, rng, 4))
    count = graph.constant([keep], np.int64)
    columns = graph.constant(labels if joined else 1, np.int64)
    pairs = graph.op("Flatten", shares, axis=1) if joined else graph.reduce_max(shares, 2)
    scores, index = graph.ops("TopK", 2, pairs, count, axis=1)
    query = graph.op("Div", index, columns)
    label = graph.op("Sub", index, graph.op("Mul", query, columns))
    centre, half = graph.slice(boxes, 2, 0, 2), graph.slice(boxes, 2, 2, 4)
    half = graph.op("Mul", half, graph.constant(0.5))
    corners = graph.op(
        "Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2
    )
    twice = graph.op("Tile", "orig_target_sizes", graph.constant([1, 2], np.int64))
    scale = graph.unsqueeze(graph.op("Cast", twice, to=1), 1)
    spread = graph.op("Tile", graph.unsqueeze(query, 2), graph.constant([1, 1, 4], np.int64))
    chosen = graph.op("GatherElements", graph.op("Mul", corners, scale), spread, axis=1)
    sizes = helper.make_tensor_value_info("orig_target_sizes", TensorProto.INT64, ["n", 2])
    model.graph.input.append(sizes)
    for tensor, name, kind, shape in (
        (label, "labels", TensorProto.INT64, [1, keep]),
        (chosen, "boxes", TensorProto.FLOAT, [1, keep, 4]),
        (scores, "scores", TensorProto.FLOAT, [1, keep]),
    ):
        graph.publish(tensor, name)
        model.graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def _decoder(size, *, hybrid=False, patches=False, samples=False):
    """Return queries (1, QUERIES, WIDTH) that depend on the image."""
    model, graph, features = _stem(size, 1, 17, seed=6, scale=0.25 if patches else 1.0)
    rng = np.random.default_rng(6)
    if not patches:
        _shorten_strides(model)
    tensor = features[0]
    if hybrid:
        attention = graph.op("Softmax", tensor, axis=1)
        tensor = graph.op("Add", tensor, attention)
        kernel = rng.normal(0, 2 / np.sqrt(WIDTH), (WIDTH, WIDTH, 1, 1))
        around = {"kernel_shape": [1, 1]}
        if hybrid != "projected":
            kernel = np.pad(kernel, ((0, 0), (0, 0), (1, 1), (1, 1)))
            around = {"kernel_shape": [3, 3], "pads": [1] * 4}
        bias = graph.constant(np.zeros(WIDTH))
        tensor = graph.op("Conv", tensor, graph.constant(kernel), bias, **around)
    if samples:
        grid = graph.constant(rng.uniform(-1, 1, (1, QUERIES, 1, 2)))
        tensor = graph.op("GridSample", tensor, grid)
    rows = graph.op("Transpose", graph.reshape(tensor, (1, WIDTH, -1)), perm=[0, 2, 1])
    return model, graph, graph.slice(rows, 1, 0, QUERIES), rng


def _best(graph, queries):
    most = graph.constant([QUERIES], np.int64)
    _, index = graph.ops("TopK", 2, graph.reduce_max(queries, 2), most, axis=1)
    return graph.gather_rows(queries, index)


def _shorten_strides(model):
    """Pool the image first, so that the first convolution need not stride 8 as in a transformer."""
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    for item in first.attribute:
        if item.name == "strides":
            del item.ints[:]
            item.ints.extend([4, 4])
        if item.name == "kernel_shape":
            item.ints[:] = [8, 8]


def _head(graph, queries, rng, columns, bias=0.0):
    weights = graph.constant(rng.normal(0, 0.12, (WIDTH, columns)))
    return graph.op("Add", graph.op("MatMul", queries, weights), graph.constant([bias] * columns))
