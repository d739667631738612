"""Small detectors with random weights, in the shape that each family's exporter gives them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from engines.graph import GraphBuilder

STRIDES = (8, 16, 32)
WIDTH = 8


def ultralytics(
    *,
    labels=3,
    size=(64, 64),
    batch=1,
    opset=17,
    names=None,
    task="detect",
    bins=1,
    middle=0.5,
    corners=False,
    joined=False,
):
    """One output (batch, 4 + labels, N), boxes decoded, scores through a sigmoid.

    Boxes are cxcywh; with `corners` xyxy, as they are before an embedded NMS.

    Distances are distributions over `bins`, from `middle` of the cell; one bin: numbers. With
    `joined` sides and scores of a feature map are one tensor first, as they are up to release 8.3.
    """
    model, graph, features = _stem(size, batch, opset, seed=0, scale=1.0)
    rng = np.random.default_rng(0)
    count = anchor_count(size)
    boxes, scores, both, anchors, steps = [], [], [], [], []
    for stride, feature in zip(STRIDES, features, strict=True):
        rows, columns = size[1] // stride, size[0] // stride
        far = _conv(graph, feature, rng, channels=(WIDTH, 4 * bins), bias=1.0, gain=min(bins, 3))
        logits = _conv(graph, feature, rng, channels=(WIDTH, labels), bias=-0.5)
        if joined:
            one = graph.op("Concat", far, logits, axis=1)
            both.append(graph.reshape(one, (batch, 4 * bins + labels, rows * columns)))
        else:
            boxes.append(graph.reshape(far, (batch, 4 * bins, rows * columns)))
            scores.append(graph.reshape(logits, (batch, labels, rows * columns)))
        y, x = np.mgrid[:rows, :columns]
        anchors.append(np.stack([x.ravel(), y.ravel()]) + middle)
        steps.append(np.full((1, rows * columns), stride))
    anchor, stride = graph.constant(np.hstack(anchors)), graph.constant(np.hstack(steps))
    if joined:
        parts = graph.constant([4 * bins, labels], np.int64)
        sides, logits = graph.ops("Split", 2, graph.op("Concat", *both, axis=2), parts, axis=1)
    else:
        sides = graph.op("Concat", *boxes, axis=2)
        logits = graph.op("Concat", *scores, axis=2)
    if bins == 1:
        sides = graph.op("Softplus", sides)
    else:
        sides = _expected(graph, sides, (batch, bins, count))
    low = graph.op("Sub", anchor, graph.slice(sides, 1, 0, 2))
    high = graph.op("Add", anchor, graph.slice(sides, 1, 2, 4))
    centre = graph.op("Div", graph.op("Add", low, high), graph.constant(2.0))
    pair = (low, high) if corners else (centre, graph.op("Sub", high, low))
    box = graph.op("Concat", *pair, axis=1)
    output = graph.op(
        "Concat",
        graph.op("Mul", box, stride),
        graph.op("Sigmoid", logits),
        axis=1,
    )
    _publish(model, graph, {output: ("output0", [batch, 4 + labels, count])})
    meta = {"task": task} | ({} if names is None else {"names": repr(names)})
    helper.set_model_props(model, meta)
    return model


def _expected(graph, sides, shape):
    """Return the distributions' expectations, by the convolution that its exporter writes."""
    batch, bins, count = shape
    spread = graph.reshape(sides, (batch, 4, bins, count))
    shares = graph.op("Softmax", graph.op("Transpose", spread, perm=[0, 2, 1, 3]), axis=1)
    kernel = graph.constant(np.arange(bins).reshape(1, bins, 1, 1))
    return graph.reshape(graph.op("Conv", shares, kernel), (batch, 4, count))


def yolox(*, labels=3, size=(64, 64), batch=1, opset=17, seed=0, decoded=False):
    """One output (batch, N, 5 + labels), boxes raw unless `decoded`."""
    model, graph, features = _stem(size, batch, opset, seed, scale=1 / 255)
    rng = np.random.default_rng(seed)
    levels = []
    for stride, feature in zip(STRIDES, features, strict=True):
        cells = (size[0] // stride) * (size[1] // stride)
        box = _conv(graph, feature, rng, channels=(WIDTH, 4), bias=0.5)
        objectness = graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, 1)))
        scores = graph.op("Sigmoid", _conv(graph, feature, rng, channels=(WIDTH, labels)))
        level = graph.op("Concat", box, objectness, scores, axis=1)
        levels.append(graph.reshape(level, (batch, 5 + labels, cells)))
    output = graph.op("Transpose", graph.op("Concat", *levels, axis=2), perm=[0, 2, 1])
    if decoded:
        output = graph.op("Mul", output, graph.constant(2.0))
    _publish(model, graph, {output: ("output", [batch, anchor_count(size), 5 + labels])})
    return model


def anchor_count(size):
    """Return the cells of all strides."""
    return sum((size[0] // s) * (size[1] // s) for s in STRIDES)


def _stem(size, batch, opset, seed, scale, *, focus=False):
    """An image input and one feature map per stride; with `focus` it begins as YOLOX does."""
    shape = [batch, 3, size[1], size[0]]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
    model = helper.make_model(
        helper.make_graph([], "net", [image], []), opset_imports=[helper.make_opsetid("", opset)]
    )
    model.ir_version = 8
    graph = GraphBuilder(model, "net/")
    rng = np.random.default_rng(seed + 1)
    first = {"stride": 8, "bias": -1.0, "gain": 2}
    if focus:
        tensor = _focus(graph, "images", rng)
        tensor = graph.op("Mul", tensor, graph.constant(4 * scale))
        tensor = _conv(graph, tensor, rng, channels=(WIDTH, WIDTH), **(first | {"stride": 4}))
    else:
        tensor = graph.op("Mul", "images", graph.constant(4 * scale))
        tensor = _conv(graph, tensor, rng, channels=(3, WIDTH), **first)
    tensor = graph.op("Relu", tensor)
    features = [tensor]
    for _ in STRIDES[1:]:
        tensor = graph.op(
            "Relu", _conv(graph, tensor, rng, channels=(WIDTH, WIDTH), stride=2, gain=2)
        )
        features.append(tensor)
    return model, graph, features


def _focus(graph, image, rng):
    """Every other pixel four times, stacked as channels, and a 3x3 convolution."""
    quarters = []
    for x in (0, 1):
        for y in (0, 1):
            rows, columns = (
                [graph.constant([v], np.int64) for v in (start, 2**62, axis, 2)]
                for start, axis in ((y, 2), (x, 3))
            )
            tall = graph.op("Slice", image, *rows)
            quarters.append(graph.op("Slice", tall, *columns))
    weights = graph.constant(rng.normal(0, 0.2, (WIDTH, 12, 3, 3)))
    stacked = graph.op("Concat", *quarters, axis=1)
    return graph.op("Conv", stacked, weights, kernel_shape=[3, 3], pads=[1, 1, 1, 1])


def _conv(graph, tensor, rng, *, channels, stride=1, bias=0.0, gain=0.3):
    """A convolution without overlap: its kernel is as large as its stride."""
    inputs, outputs = channels
    fan_in = inputs * stride * stride
    weights = rng.normal(0, gain / np.sqrt(fan_in), (outputs, inputs, stride, stride))
    return graph.op(
        "Conv",
        tensor,
        graph.constant(weights),
        graph.constant(np.full(outputs, bias)),
        kernel_shape=[stride, stride],
        strides=[stride, stride],
    )


def _publish(model, graph, outputs):
    for tensor, (name, shape) in outputs.items():
        graph.publish(tensor, name)
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    onnx.checker.check_model(model)
