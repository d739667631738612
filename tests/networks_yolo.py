"""Small YOLO detectors with random weights, in the shape that each year's exporter gives them."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from engines.graph import GraphBuilder
from tests.networks import STRIDES, WIDTH, _conv, _publish, _stem, anchor_count, ultralytics
from tests.networks_boxes import _take

ANCHORS = np.float32(
    [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
)
"""Widths and heights in pixels of three anchors for each stride."""


_CORNERS = np.float32([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])


def yolov5(*, labels=3, size=(64, 64), batch=1, opset=17, raw=False, normalised=False):
    """One output (batch, 3 * N, 5 + labels), decoded; with `raw` the heads beside it."""
    model, graph, features = _stem(size, batch, opset, seed=5, scale=1.0)
    rng = np.random.default_rng(5)
    rows, heads = [], {}
    for stride, feature, anchors in zip(STRIDES, features, ANCHORS, strict=True):
        head = _anchored(graph, feature, rng, (batch, size, stride, labels))
        heads[head] = (f"head{stride}", [batch, 3, *_cells(size, stride), 5 + labels])
        lengths = graph.constant([2, 2, 1 + labels], np.int64)
        xy, wh, rest = graph.ops("Split", 3, graph.op("Sigmoid", head), lengths, axis=4)
        grid = graph.constant(_grid(size, stride) - 0.5)
        centre = graph.op("Add", graph.op("Mul", xy, graph.constant(2.0)), grid)
        centre = graph.op("Mul", centre, graph.constant(stride))
        double = graph.op("Mul", wh, graph.constant(2.0))
        sides = graph.op("Mul", graph.op("Mul", double, double), graph.constant(_boxes(anchors)))
        joined = graph.op("Concat", centre, sides, rest, axis=4)
        rows.append(graph.reshape(joined, (batch, -1, 5 + labels)))
    output = graph.op("Concat", *rows, axis=1)
    if normalised:
        output = graph.op("Mul", output, graph.constant([1 / size[0], 1 / size[1]] * 2 + [1] * 4))
    outputs = {output: ("output", [batch, 3 * anchor_count(size), 5 + labels])}
    _publish(model, graph, outputs | (heads if raw else {}))
    return model


def raw_heads(*, labels=3, size=(64, 64), batch=1, layout="anchors", sigmoid=False):
    """Three outputs without any decoding: by `layout`, as v5, darknet or TensorFlow have them."""
    model, graph, features = _stem(size, batch, 17, seed=5, scale=1.0)
    rng = np.random.default_rng(5)
    outputs = {}
    for stride, feature in zip(STRIDES, features, strict=True):
        rows, columns = _cells(size, stride)
        head = _anchored(graph, feature, rng, (batch, size, stride, labels))
        head = graph.op("Sigmoid", head) if sigmoid else head
        shape = [batch, 3, rows, columns, 5 + labels]
        if layout == "channels":
            shape = [batch, 3 * (5 + labels), rows, columns]
            head = graph.reshape(graph.op("Transpose", head, perm=[0, 1, 4, 2, 3]), tuple(shape))
        elif layout in {"last", "last channels"}:
            shape = [batch, rows, columns, 3, 5 + labels]
            head = graph.op("Transpose", head, perm=[0, 2, 3, 1, 4])
            if layout == "last channels":
                shape = [*shape[:3], 3 * (5 + labels)]
                head = graph.reshape(head, tuple(shape))
        outputs[head] = (f"head{stride}", shape)
    _publish(model, graph, outputs)
    return model


def yolov6(*, labels=3, size=(64, 64), batch=1, maps=False, objectness=False, prepares=False):
    """One output (batch, N, 5 + labels), decoded; with `maps` a (batch, labels + 4, h, w) each.

    With `objectness` as release 0.1: each stride decoded by itself, from logs of sizes. If it
    `prepares` the image, it takes BGR in 0..255.
    """
    model, graph, features = _stem(size, batch, 17, seed=6, scale=1.0)
    rng = np.random.default_rng(6)
    parts = []
    for stride, feature in zip(STRIDES, features, strict=True):
        scores = graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, labels), bias=-1))
        sides = _conv(graph, feature, rng, channels=(WIDTH, 4), bias=1.0)
        heard = graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, 1)))
        parts.append((stride, scores, sides, heard))
    if maps:
        outputs = {
            graph.op("Concat", scores, sides, axis=1): (
                f"map{stride}", [batch, labels + 4, *_cells(size, stride)]
            )
            for stride, scores, sides, _ in parts
        }  # fmt: skip
        _publish(model, graph, outputs)
        return model
    output = (_release_01 if objectness else _release_2)(graph, parts, size, (batch, labels))
    if prepares:
        _take(model, graph, lambda image: _prepared(graph, image))
    _publish(model, graph, {output: ("outputs", [batch, anchor_count(size), 5 + labels])})
    return model


def _prepared(graph, image):
    swapped = graph.op("Gather", image, graph.constant([2, 1, 0], np.int64), axis=1)
    return graph.op("Mul", swapped, graph.constant(1 / 255))


def _release_2(graph, parts, size, shape):
    batch, labels = shape
    flat = [
        graph.op("Concat", *(graph.reshape(p[i], (batch, n, -1)) for p in parts), axis=2)
        for i, n in ((1, labels), (2, 4))
    ]
    scores, sides = (graph.op("Transpose", x, perm=[0, 2, 1]) for x in flat)
    middle = graph.constant(np.vstack([_grid(size, s).reshape(-1, 2) + 0.5 for s in STRIDES]))
    step = graph.constant(np.vstack([np.full((np.prod(_cells(size, s)), 1), s) for s in STRIDES]))
    low = graph.op("Sub", middle, graph.slice(sides, 2, 0, 2))
    high = graph.op("Add", middle, graph.slice(sides, 2, 2, 4))
    centre = graph.op("Mul", graph.op("Add", low, high), graph.constant(0.5))
    box = graph.op("Concat", centre, graph.op("Sub", high, low), axis=2)
    ones = graph.constant(np.ones((batch, anchor_count(size), 1)))
    return graph.op("Concat", graph.op("Mul", box, step), ones, scores, axis=2)


def _release_01(graph, parts, size, shape):
    batch, labels = shape
    rows = []
    for stride, scores, box, heard in parts:
        level = graph.op("Concat", box, heard, scores, axis=1)
        level = graph.reshape(level, (batch, 1, 5 + labels, *_cells(size, stride)))
        level = graph.op("Transpose", level, perm=[0, 1, 3, 4, 2])
        rows.append(_decoded(graph, level, 4, _grid(size, stride)[None], stride, labels))
    flat = [graph.reshape(row, (batch, -1, 5 + labels)) for row in rows]
    return graph.op("Concat", *flat, axis=1)


def yolox_decoded(*, labels=3, size=(64, 64), batch=1, focus=True):
    """One output (batch, N, 5 + labels), decoded after the strides were joined."""
    model, graph, features = _stem(size, batch, 17, seed=7, scale=1 / 255, focus=focus)
    rng = np.random.default_rng(7)
    levels = []
    for feature in features:
        box = _conv(graph, feature, rng, channels=(WIDTH, 4), bias=0.5)
        heard = graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, 1)))
        scores = graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, labels)))
        level = graph.op("Concat", box, heard, scores, axis=1)
        levels.append(graph.reshape(level, (batch, 5 + labels, -1)))
    joined = graph.op("Transpose", graph.op("Concat", *levels, axis=2), perm=[0, 2, 1])
    grid = np.vstack([_grid(size, s).reshape(-1, 2) for s in STRIDES])
    step = np.vstack([np.full((np.prod(_cells(size, s)), 1), s) for s in STRIDES])
    output = _decoded(graph, joined, 2, grid, step, labels)
    _publish(model, graph, {output: ("output", [batch, anchor_count(size), 5 + labels])})
    return model


def _decoded(graph, rows, axis, grid, stride, labels):  # noqa: PLR0917
    """Decode centres from the cell's corner and sizes from their logs."""
    xy, wh = graph.slice(rows, axis, 0, 2), graph.slice(rows, axis, 2, 4)
    centre = graph.op("Mul", graph.op("Add", xy, graph.constant(grid)), graph.constant(stride))
    sides = graph.op("Mul", graph.op("Exp", wh), graph.constant(stride))
    return graph.op("Concat", centre, sides, graph.slice(rows, axis, 4, 5 + labels), axis=axis)


def end_to_end(*, labels=3, size=(64, 64), batch=1, best=30, numbers=True):
    """One output (batch, best, 6): the top-k over candidates, then over these and their labels."""
    model, graph, features = _stem(size, batch, 17, seed=8, scale=1.0)
    rng = np.random.default_rng(8)
    boxes, scores = [], []
    for stride, feature in zip(STRIDES, features, strict=True):
        sides = graph.op("Relu", _conv(graph, feature, rng, channels=(WIDTH, 4), bias=1.0))
        middle = graph.constant(_grid(size, stride).transpose(2, 0, 1) + 0.5)
        low = graph.op("Sub", middle, graph.slice(sides, 1, 0, 2))
        high = graph.op("Add", middle, graph.slice(sides, 1, 2, 4))
        corners = graph.op("Concat", low, high, axis=1)
        corners = graph.op("Mul", corners, graph.constant(stride))
        boxes.append(graph.reshape(corners, (batch, 4, -1)))
        logits = _conv(graph, feature, rng, channels=(WIDTH, labels), bias=-0.5)
        scores.append(graph.reshape(graph.op("Sigmoid", logits), (batch, labels, -1)))
    both = graph.op(
        "Concat", graph.op("Concat", *boxes, axis=2), graph.op("Concat", *scores, axis=2), axis=1
    )
    rows = graph.op("Transpose", both, perm=[0, 2, 1])
    output = _best(graph, rows, labels, best)
    if not numbers:
        output = graph.op("Add", output, graph.constant([0, 0, 0, 0, 0, 0.5]))
    _publish(model, graph, {output: ("output0", [batch, best, 6])})
    return model


def _best(graph, rows, labels, best):
    boxes, scores = graph.slice(rows, 2, 0, 4), graph.slice(rows, 2, 4, 4 + labels)
    amount = graph.constant([best], np.int64)
    _, first = graph.ops("TopK", 2, graph.reduce_max(scores, 2), amount, axis=1)
    index = graph.unsqueeze(first, 2)
    repeated = graph.op("Tile", index, graph.constant([1, 1, labels], np.int64))
    chosen = graph.op("Flatten", graph.op("GatherElements", scores, repeated, axis=1), axis=1)
    score, second = graph.ops("TopK", 2, chosen, amount, axis=1)
    count = graph.constant(labels, np.int64)
    label = graph.op("Cast", graph.unsqueeze(graph.op("Mod", second, count), 2), to=1)
    candidate = graph.op("GatherElements", first, graph.op("Div", second, count), axis=1)
    spread = graph.op("Tile", graph.unsqueeze(candidate, 2), graph.constant([1, 1, 4], np.int64))
    corners = graph.op("GatherElements", boxes, spread, axis=1)
    return graph.op("Concat", corners, graph.unsqueeze(score, 2), label, axis=2)


def _anchored(graph, feature, rng, shape):
    """Return a head (batch, 3, rows, columns, 5 + labels)."""
    batch, size, stride, labels = shape
    raw = _conv(graph, feature, rng, channels=(WIDTH, 3 * (5 + labels)), gain=0.2)
    split = graph.reshape(raw, (batch, 3, 5 + labels, *_cells(size, stride)))
    return graph.op("Transpose", split, perm=[0, 1, 3, 4, 2])


def _cells(size, stride):
    return size[1] // stride, size[0] // stride


def _grid(size, stride):
    """Return each cell's column and row, (rows, columns, 2)."""
    y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
    return np.stack([x, y], -1).astype(np.float32)


def _boxes(anchors):
    return anchors.reshape(1, 3, 1, 1, 2)


def with_nms(model, *, iou=0.6, plugin=False, turned=False, apart=None):
    """Append the NMS that exporters embed: the standard operator per frame, or TensorRT's plugin.

    Takes rows (1, N, 5 + labels); where `turned`, corners and scores (1, 4 + labels, N). The
    operator is given the scores of every label; or those of the best, and boxes `apart` pixels
    times that label away; or the plugin's attribute says whether labels count, where that is 0.
    """
    graph = GraphBuilder(model, "nms/")
    output = model.graph.output[0].name
    columns = model.graph.output[0].type.tensor_type.shape.dim[1 if turned else 2].dim_value
    rows = graph.op("Transpose", output, perm=[0, 2, 1]) if turned else output
    boxes = graph.slice(rows, 2, 0, 4)
    scores = graph.slice(rows, 2, 4 if turned else 5, columns)
    if not turned:
        scores = graph.op("Mul", scores, graph.slice(rows, 2, 4, 5))
    del model.graph.output[:]
    if plugin:
        told = {} if apart is None else {"class_agnostic": int(apart == 0)}
        found = graph.ops(
            "EfficientNMS_TRT", 4, boxes, scores, domain="TRT", iou_threshold=iou, **told
        )
        model.opset_import.append(helper.make_opsetid("TRT", 1))
    else:
        limits = graph.constant([100], np.int64), graph.constant([iou]), graph.constant([0.25])
        turned_scores, moved = graph.op("Transpose", scores, perm=[0, 2, 1]), boxes
        if apart is not None:
            side = graph.op("Gather", graph.op("Shape", boxes), graph.constant(1, np.int64))
            moved = graph.op("Div", boxes, graph.op("Cast", side, to=1))
            label = graph.op("Cast", graph.op("ArgMax", scores, axis=2, keepdims=1), to=1)
            moved = graph.op("Add", moved, graph.op("Mul", label, graph.constant(apart)))
            turned_scores = graph.unsqueeze(graph.reduce_max(scores, 2), 1)
        chosen = graph.op("NonMaxSuppression", moved, turned_scores, *limits)
        index = graph.op("Gather", chosen, graph.constant(2, np.int64), axis=1)
        found = [graph.op("Gather", graph.squeeze(boxes, 0), index, axis=0)]
    for name in found:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def with_best_label(model, *, turned=False, apart=False, moved=False, objectness=False):
    """Append what exports for DeepStream end in: each box, its best label's score, and its number.

    Takes rows (1, N, 5 + labels); where `turned`, (1, 4 + labels, N). Joined in one output, or
    `apart` in three; centres and sizes are `moved` to corners; with `objectness` behind all that.
    """
    graph = GraphBuilder(model, "best/")
    output = model.graph.output[0].name
    columns = model.graph.output[0].type.tensor_type.shape.dim[1 if turned else 2].dim_value
    rows = graph.op("Transpose", output, perm=[0, 2, 1]) if turned else output
    named = graph.slice(rows, 2, 4 if turned else 5, columns)
    boxes = graph.slice(rows, 2, 0, 4)
    if moved:
        boxes = graph.op("MatMul", boxes, graph.constant(_CORNERS))
    score = graph.unsqueeze(graph.reduce_max(named, 2), 2)
    label = graph.op("Cast", graph.op("ArgMax", named, axis=2, keepdims=1), to=1)
    parts = [boxes, score, label, *([graph.slice(rows, 2, 4, 5)] if objectness else [])]
    del model.graph.output[:]
    for name in parts if apart else [graph.op("Concat", *parts, axis=2)]:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def yolov4_decoded(*, labels=3, size=(64, 64), batch=1):
    """Two outputs, as pytorch-YOLOv4 has them: boxes (batch, N, 1, 4) in 0..1, and scores."""
    model = ultralytics(labels=labels, size=size, batch=batch, corners=True)
    graph = GraphBuilder(model, "v4/")
    rows = graph.op("Transpose", model.graph.output[0].name, perm=[0, 2, 1])
    corners = graph.op("Div", graph.slice(rows, 2, 0, 4), graph.constant(size * 2))
    outputs = {
        graph.unsqueeze(corners, 2): ("boxes", [batch, anchor_count(size), 1, 4]),
        graph.slice(rows, 2, 4, 4 + labels): ("confs", [batch, anchor_count(size), labels]),
    }
    del model.graph.output[:], model.metadata_props[:]
    _publish(model, graph, outputs)
    return model


def yolov9_dual(**changes):
    """YOLOv9's two branches, the auxiliary one first."""
    model = ultralytics(**changes)
    graph = GraphBuilder(model, "dual/")
    other = graph.op("Sub", "output0", graph.constant(np.float32([[[2]] * 4 + [[0]] * 3])))
    main = model.graph.output.pop()
    model.graph.output.append(
        helper.make_tensor_value_info(other, TensorProto.FLOAT, [1, 7, anchor_count((64, 64))])
    )
    model.graph.output.append(main)
    return model
