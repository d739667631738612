"""Small detectors with random weights, as Paddle2ONNX writes those of PaddleDetection."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from tests.networks import STRIDES, WIDTH, _conv, _publish, _stem, anchor_count
from tests.networks_boxes import BINS, _decoded, _levels, _publish_pair
from tests.networks_detr import QUERIES, _decoder, _head

PICO = (*STRIDES, 64)
PICO_BINS = 8
ANCHORS = np.array([[[10, 13], [16, 30], [33, 23]], [[30, 61], [62, 45], [59, 119]],
                    [[116, 90], [156, 198], [373, 326]]])  # fmt: skip


def pp_yoloe(*, labels=3, size=(64, 64), joined=False):
    """Boxes (1, N, 4) over `scale_factor`, then scores (1, labels, N): largest stride first.

    With `joined` as without post-processing.
    """
    strides = STRIDES[::-1]
    model, graph, levels = _levels(size, 1, 4 * BINS, labels, strides)
    kernel = graph.constant(np.arange(BINS).reshape(1, BINS, 1, 1))
    sides, scores = [], []
    for cells, far, logits in levels:
        spread = graph.reshape(far, (-1, 4, BINS, cells))
        shares = graph.op("Softmax", graph.op("Transpose", spread, perm=[0, 2, 3, 1]), axis=1)
        sides.append(graph.squeeze(graph.op("Conv", shares, kernel), 1))
        scores.append(graph.reshape(graph.op("Sigmoid", logits), (-1, labels, cells)))
    boxes = _decoded(graph, graph.op("Concat", *sides, axis=1), size, strides)
    shown = graph.op("Concat", *scores, axis=2)
    if joined:
        rows = graph.op("Transpose", shown, perm=[0, 2, 1])
        both = graph.op("Concat", boxes, rows, axis=2)
        _publish(model, graph, {both: ("concat_16.tmp_0", [1, anchor_count(size), 4 + labels])})
        return model
    scaled = _over_scale(model, graph, boxes)
    _publish_pair(model, graph, (scaled, "tmp_17"), (shown, "concat_14.tmp_0"))
    return model


def picodet(*, labels=3, size=(128, 64), raw=False, scaled=True):
    """Boxes (1, N, 4) and scores (1, labels, N), or `raw` all levels' scores, then their sides.

    Not `scaled` as exported without its NMS.
    """
    model, graph, features = _stem(size, 1, 17, seed=8, scale=0.5)
    rng = np.random.default_rng(8)
    deeper = _conv(graph, features[-1], rng, channels=(WIDTH, WIDTH), stride=2, gain=2)
    features.append(graph.op("Relu", deeper))
    sides, scores, outputs = [], [], ({}, {})
    for stride, feature in zip(PICO, features, strict=True):
        count = (size[0] // stride) * (size[1] // stride)
        label, quality = (
            graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, n), bias=-0.5))
            for n in (labels, 1)
        )
        product = graph.op("Add", graph.op("Mul", label, quality), graph.constant(1e-9))
        heard = graph.reshape(graph.op("Sqrt", product), (1, labels, count))
        far = _conv(graph, feature, rng, channels=(WIDTH, 4 * PICO_BINS), gain=2)
        if raw:
            far = graph.reshape(far, (1, 4 * PICO_BINS, count))
            for kept, tensor, columns in zip(
                outputs, (heard, far), (labels, 4 * PICO_BINS), strict=True
            ):
                turned = graph.op("Transpose", tensor, perm=[0, 2, 1])
                kept[turned] = (f"transpose_{turned}", [1, count, columns])
            continue
        spread = graph.op("Transpose", far, perm=[0, 2, 3, 1])
        shares = graph.op("Softmax", graph.reshape(spread, (-1, PICO_BINS)), axis=1)
        expected = graph.op("MatMul", shares, graph.constant(np.arange(PICO_BINS)))
        sides.append(graph.reshape(expected, (-1, count, 4)))
        scores.append(heard)
    if raw:
        _publish(model, graph, outputs[0] | outputs[1])
        return model
    boxes = _decoded(graph, graph.op("Concat", *sides, axis=1), size, PICO)
    if scaled:
        boxes = _over_scale(model, graph, boxes)
    shown = graph.op("Concat", *scores, axis=2)
    _publish_pair(model, graph, (boxes, "tmp_8"), (shown, "concat_6.tmp_0"))
    return model


def yolox(*, labels=3, size=(64, 64)):
    """Boxes (1, N, 4) over `scale_factor`, and scores (1, labels, N), roots of two sigmoids."""
    model, graph, levels = _levels(size, 1, 5, labels, scale=1 / 255)
    boxes, known, scores = [], [], []
    for cells, regressed, logits in levels:
        rows = graph.op("Transpose", graph.reshape(regressed, (-1, 5, cells)), perm=[0, 2, 1])
        boxes.append(graph.slice(rows, 2, 0, 4))
        known.append(graph.op("Sigmoid", graph.slice(rows, 2, 4, 5)))
        label = graph.reshape(graph.op("Sigmoid", logits), (-1, labels, cells))
        scores.append(graph.op("Transpose", label, perm=[0, 2, 1]))
    box, sure, heard = (graph.op("Concat", *parts, axis=1) for parts in (boxes, known, scores))
    half = graph.op("Mul", graph.op("Exp", graph.slice(box, 2, 2, 4)), graph.constant(0.5))
    centre = graph.slice(box, 2, 0, 2)
    low, high = graph.op("Sub", half, centre), graph.op("Add", half, centre)
    corners = _decoded(graph, graph.op("Concat", low, high, axis=2), size, STRIDES, middle=0.0)
    root = graph.op("Sqrt", graph.op("Mul", heard, sure))
    shown = graph.op("Transpose", root, perm=[0, 2, 1])
    scaled = _over_scale(model, graph, corners)
    _publish_pair(model, graph, (scaled, "tmp_1"), (shown, "transpose_9.tmp_0"))
    return model


def yolov3(*, labels=3, size=(64, 64)):
    """Boxes (1, N, 4) in `im_shape` over `scale_factor`, scores (1, labels, N): 3 anchors a cell.

    Where the objectness is low, both are 0.
    """
    model, graph, levels = _levels(size, 1, 3 * (5 + labels), labels, STRIDES[::-1])
    _describe(model, "im_shape")
    _describe(model, "scale_factor")
    shape = graph.op("Cast", graph.op("Div", "im_shape", "scale_factor"), to=TensorProto.INT32)
    y, x = graph.split(graph.unsqueeze(graph.op("Cast", shape, to=1), 1), 2, 2)
    boxes, scores = [], []
    for level, (cells, raw, _) in enumerate(levels):
        stride = STRIDES[::-1][level]
        columns, rows = size[0] // stride, size[1] // stride
        split = graph.reshape(raw, (-1, 3, 5 + labels, rows, columns))
        split = graph.op("Transpose", split, perm=[0, 1, 3, 4, 2])
        places = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1)
        moved = graph.op("Sigmoid", graph.slice(split, 4, 0, 2))
        grid = graph.constant([columns, rows])
        centre = graph.op("Div", graph.op("Add", moved, graph.constant(places)), grid)
        anchors = ANCHORS[::-1][level].reshape(1, 3, 1, 1, 2) / 8 / size
        tame = graph.op("Mul", graph.slice(split, 4, 2, 4), graph.constant(0.1))
        half = graph.op("Mul", graph.op("Exp", tame), graph.constant(anchors / 2))
        sure = graph.op("Sigmoid", graph.slice(split, 4, 4, 5))
        kept = graph.op("Cast", graph.op("Greater", sure, graph.constant(0.005)), to=1)
        corners = graph.op("Sub", centre, half), graph.op("Add", centre, half)
        shown = graph.op("Mul", graph.op("Concat", *corners, axis=4), kept)
        scaled = graph.op(
            "Mul", graph.reshape(shown, (-1, 3 * cells, 4)), graph.op("Concat", x, y, x, y, axis=2)
        )
        boxes.append(graph.op("Relu", scaled))
        label = graph.op("Sigmoid", graph.slice(split, 4, 5, 5 + labels))
        heard = graph.op("Mul", label, graph.op("Mul", sure, kept))
        heard = graph.reshape(heard, (-1, 3 * cells, labels))
        scores.append(graph.op("Transpose", heard, perm=[0, 2, 1]))
    pair = graph.op("Concat", *boxes, axis=1), graph.op("Concat", *scores, axis=2)
    _publish_pair(model, graph, (pair[0], "concat_0.tmp_0"), (pair[1], "concat_1.tmp_0"))
    return model


def rt_detr(*, labels=3, size=(64, 48), keep=15, hybrid=True, sigmoids=True):
    """Rows (keep, 6), label, score and box in pixels, and how many they are."""
    model, graph, queries, rng = _decoder(size, hybrid=hybrid)
    logits = _head(graph, queries, rng, labels, bias=-1.5)
    shares = graph.op("Sigmoid", logits) if sigmoids else logits
    boxes = graph.op("Sigmoid", _head(graph, queries, rng, 4))
    centre, half = graph.slice(boxes, 2, 0, 2), graph.slice(boxes, 2, 2, 4)
    half = graph.op("Mul", half, graph.constant(0.5))
    corners = graph.op(
        "Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2
    )
    for name in ("im_shape", "scale_factor"):
        _describe(model, name)
    shape = graph.op("Add", graph.op("Div", "im_shape", "scale_factor"), graph.constant(0.5))
    y, x = graph.split(graph.op("Floor", shape), 1, 2)
    frame = graph.unsqueeze(graph.op("Concat", x, y, x, y, axis=1), 1)
    pairs = graph.reshape(shares, (-1, QUERIES * labels))
    scores, index = graph.ops("TopK", 2, pairs, graph.constant([keep], np.int64), axis=1)
    label = graph.op("Mod", index, graph.constant(labels, np.int64))
    query = graph.op("Cast", graph.op("Floor", graph.op(
        "Div", graph.op("Cast", index, to=1), graph.constant(float(labels))
    )), to=7)  # fmt: skip
    numbers = graph.constant(np.zeros((1, keep, 1)), np.int64)
    place = graph.op("Concat", numbers, graph.unsqueeze(query, 2), axis=2)
    chosen = graph.op("GatherND", graph.op("Mul", corners, frame), place)
    named = graph.op("Cast", graph.unsqueeze(label, 2), to=1)
    joined = graph.op("Concat", named, graph.unsqueeze(scores, 2), chosen, axis=2)
    count = graph.op("Tile", graph.constant([keep], np.int32), graph.constant([1], np.int64))
    for tensor, name, kind, dims in (
        (graph.reshape(joined, (-1, 6)), "reshape2_95.tmp_0", TensorProto.FLOAT, [keep, 6]),
        (count, "tile_3.tmp_0", TensorProto.INT32, [1]),
    ):
        graph.publish(tensor, name)
        model.graph.output.append(helper.make_tensor_value_info(name, kind, dims))
    return model


def _over_scale(model, graph, boxes):
    """Divide boxes by `scale_factor`, an input."""
    _describe(model, "scale_factor")
    y, x = graph.ops("Split", 2, "scale_factor", graph.constant([1, 1], np.int64), axis=1)
    scale = graph.reshape(graph.op("Concat", x, y, x, y, axis=1), (-1, 1, 4))
    return graph.op("Div", boxes, scale)


def _describe(model, name):
    model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2]))
