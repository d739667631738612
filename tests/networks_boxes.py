"""Small detectors whose boxes and scores are two tensors, and the NMS that exporters put behind."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.graph import GraphBuilder
from tests.networks import STRIDES, WIDTH, _conv, _stem

BINS = 17
BYTES = TensorProto.UINT8


def yolo_nas(*, labels=3, size=(64, 64), batch=1, takes_bytes=False, strides=STRIDES):
    """Boxes (batch, N, 4), then scores (batch, N, labels): distributions, by a convolution."""
    model, graph, levels = _levels(size, batch, 4 * BINS, labels, strides)
    kernel = graph.constant(np.arange(BINS).reshape(1, BINS, 1, 1))
    sides, scores = [], []
    for cells, far, logits in levels:
        spread = graph.reshape(far, (batch, 4, BINS, cells))
        shares = graph.op("Softmax", graph.op("Transpose", spread, perm=[0, 2, 3, 1]), axis=1)
        sides.append(graph.squeeze(graph.op("Conv", shares, kernel), 1))
        scores.append(graph.reshape(logits, (batch, labels, cells)))
    rows = graph.op("Transpose", graph.op("Concat", *scores, axis=2), perm=[0, 2, 1])
    boxes = _decoded(graph, graph.op("Concat", *sides, axis=1), size, strides)
    if takes_bytes:
        _take_bytes(model, graph)
    _publish_pair(model, graph, (boxes, "1135"), (graph.op("Sigmoid", rows), "1127"))
    return model


def damo_yolo(*, labels=3, size=(64, 64), batch=1, prepared=False):
    """Scores (batch, N, labels) of one label more, then boxes: distributions, by a matrix product.

    Its cells' corners are repeated for each frame.
    """
    model, graph, levels = _levels(size, batch, 4 * BINS, labels + 1, scale=1 / 255)
    shares, scores = [], []
    for cells, far, logits in levels:
        spread = graph.op("Softmax", graph.reshape(far, (batch, 4, BINS, cells)), axis=2)
        shares.append(graph.op("Transpose", spread, perm=[0, 3, 1, 2]))
        flat = graph.reshape(graph.op("Sigmoid", logits), (batch, labels + 1, cells))
        scores.append(graph.op("Transpose", flat, perm=[0, 2, 1]))
    flat = graph.reshape(graph.op("Concat", *shares, axis=1), (-1, BINS))
    sides = graph.op("MatMul", flat, graph.constant(np.arange(BINS)[:, None]))
    sides = graph.reshape(sides, (batch, -1, 4))
    boxes = _decoded(graph, sides, size, STRIDES, middle=0.0, repeats=batch)
    shown = graph.slice(graph.op("Concat", *scores, axis=1), 2, 0, labels)
    if prepared:
        _take(model, graph, lambda image: graph.op("Mul", image, graph.constant(1 / 255)))
    _publish_pair(model, graph, (shown, "output"), (boxes, "952"))
    return model


def rtmdet(
    *, labels=3, size=(64, 64), batch=1, bins=1, nested=False, softmax=False, products=False
):
    """Boxes (batch, N, 4) from distances, and scores; with `bins` from distributions, as GFL.

    With `nested` boxes are (batch, N, 1, 4), as those of MMDetection's anchors before the NMS;
    with `softmax` scores are those of its SSD, with `products` of its YOLOX.
    """
    outputs = labels + 1 if softmax or products else labels
    # SSD's pixels are not divided by a deviation.
    model, graph, levels = _levels(size, batch, 4 * bins, outputs, scale=1 / 64 if softmax else 1)
    sides, scores = [], []
    for _, far, logits in levels:
        side, score = (graph.op("Transpose", x, perm=[0, 2, 3, 1]) for x in (far, logits))
        if bins == 1:
            sides.append(graph.op("Exp", graph.reshape(side, (batch, -1, 4))))
        else:
            shares = graph.op("Softmax", graph.reshape(side, (-1, bins)), axis=1)
            expected = graph.op("MatMul", shares, graph.constant(np.arange(bins)[:, None]))
            sides.append(graph.reshape(expected, (batch, -1, 4)))
        scores.append(graph.reshape(score, (batch, -1, outputs)))
    boxes = _decoded(graph, graph.op("Concat", *sides, axis=1), size, STRIDES, middle=0.0)
    if nested:
        boxes = graph.unsqueeze(boxes, 2)
    logits = graph.op("Concat", *scores, axis=1)
    if softmax:
        heard = graph.slice(graph.op("Softmax", logits, axis=2), 2, 0, labels)
    elif products:
        heard = graph.op(
            "Mul",
            graph.op("Sigmoid", graph.slice(logits, 2, 0, labels)),
            graph.op("Sigmoid", graph.slice(logits, 2, labels, outputs)),
        )
    else:
        heard = graph.op("Sigmoid", logits)
    _publish_pair(model, graph, (boxes, "boxes"), (heard, "scores"))
    return model


def _levels(size, batch, sides, labels, strides=STRIDES, *, scale=1.0):
    """Return for each stride its cells, and convolutions for distances and logits."""
    model, graph, features = _stem(size, batch, 17, seed=9, scale=scale)
    # A Mul in front would prepare the image.
    first = model.graph.node.pop(0)
    model.graph.node[0].input[0] = "images"
    weights = next(t for t in model.graph.initializer if t.name == model.graph.node[0].input[1])
    factor = next(t for t in model.graph.initializer if t.name == first.input[1])
    scaled = numpy_helper.to_array(weights) * numpy_helper.to_array(factor)
    weights.CopyFrom(numpy_helper.from_array(scaled, weights.name))
    rng = np.random.default_rng(9)
    gain = 0.2 if sides == 4 else 2
    found = {}
    for stride, feature in zip(STRIDES, features, strict=True):
        far = _conv(graph, feature, rng, channels=(WIDTH, sides), bias=0.5, gain=gain)
        logits = _conv(graph, feature, rng, channels=(WIDTH, labels), bias=-0.5)
        found[stride] = (size[0] // stride) * (size[1] // stride), far, logits
    return model, graph, [found[stride] for stride in strides]


def _decoded(graph, sides, size, strides, *, middle=0.5, repeats=1):
    """Return corners in pixels, of distances (batch, N, 4) in strides from each cell's middle."""
    points, steps = [], []
    for stride in strides:
        y, x = np.mgrid[: size[1] // stride, : size[0] // stride]
        points.append(np.stack([x, y], -1).reshape(-1, 2) + middle)
        steps.append(np.full((len(points[-1]), 1), stride))
    point = graph.constant(np.repeat([np.vstack(points)], repeats, axis=0))
    low, high = graph.slice(sides, 2, 0, 2), graph.slice(sides, 2, 2, 4)
    corners = graph.op("Concat", graph.op("Sub", point, low), graph.op("Add", high, point), axis=2)
    return graph.op("Mul", corners, graph.constant(np.vstack(steps)))


def _publish_pair(model, graph, *pair):
    del model.graph.output[:]
    for tensor, name in pair:
        graph.publish(tensor, name)
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    shown = onnx.shape_inference.infer_shapes(model, data_prop=True)
    del model.graph.output[:]
    model.graph.output.extend(shown.graph.output)
    onnx.checker.check_model(model)


def _take_bytes(model, graph):
    """Let the graph take RGB in 0..255 as bytes, and bring it to 0..1."""

    def prepare(image):
        return graph.op("Div", graph.op("Cast", image, to=1), graph.constant(255.0))

    _take(model, graph, prepare)
    model.graph.input[0].type.tensor_type.elem_type = BYTES


def _take(model, graph, prepare):
    """Put what `prepare` appends between the image and its readers."""
    readers = [node for node in model.graph.node if "images" in node.input]
    before = len(model.graph.node)
    made = prepare("images")
    for node in readers:
        node.input[0] = made
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[before:], *nodes[:before]])


def with_nms_on_pair(model, *, iou=0.6, best=None, threshold=None, plugin=None):
    """Append an NMS of boxes and scores, in that order, as exporters do.

    Of the `best` ones only, as super-gradients; with a `threshold` for each label, as MMDeploy;
    by TensorRT's or MMDeploy's `plugin`. Scores may be (B, N, labels) or (B, labels, N).
    """
    graph = GraphBuilder(model, "nms/")
    boxes, scores = (value.name for value in model.graph.output)
    batch, count, labels = (d.dim_value for d in model.graph.output[1].type.tensor_type.shape.dim)
    rows = count > labels
    if threshold is not None:
        most = graph.op("ReduceMax", scores, axes=[1], keepdims=0)
        heard = graph.op("GreaterOrEqual", most, graph.constant(threshold))
        scores = graph.op("Where", heard, scores, graph.constant([0.0]))
    if best is not None:
        amount = graph.constant([best], np.int64)
        _, index = graph.ops("TopK", 2, graph.reduce_max(scores, 2), amount, axis=1)
        offset = graph.constant(np.arange(batch)[:, None] * count, np.int64)
        flat = graph.reshape(graph.op("Add", index, offset), (-1,))
        boxes, scores = (
            graph.reshape(
                graph.op("Gather", graph.op("Flatten", x, axis=2), flat, axis=0),
                (batch, best, columns),
            )
            for x, columns in ((boxes, 4), (scores, labels))
        )
    del model.graph.output[:]
    if plugin is not None:
        found = graph.ops(plugin, 4, boxes, scores, domain="TRT", iou_threshold=iou)
        model.opset_import.append(helper.make_opsetid("TRT", 1))
    else:
        if rows:
            scores = graph.op("Transpose", scores, perm=[0, 2, 1])
        limits = graph.constant([100], np.int64), graph.constant([iou]), graph.constant([0.01])
        chosen = graph.op("NonMaxSuppression", boxes, scores, *limits)
        place = graph.op("Gather", chosen, graph.constant([0, 2], np.int64), axis=1)
        found = [graph.op("GatherND", boxes, place), graph.op("GatherND", scores, chosen)]
    for name in found:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def with_nms_for_each(model, *, iou=0.6, apart=10.0):
    """Append an NMS for each frame of a batch (B, 4 + labels, N), corners, as Ultralytics does.

    Each is given the best scores, and boxes `apart` pixels times their label away.
    """
    graph = GraphBuilder(model, "each/")
    shape = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    rows = graph.op("Transpose", model.graph.output[0].name, perm=[0, 2, 1])
    limits = graph.constant([100], np.int64), graph.constant([iou]), graph.constant([0.25])
    kept = []
    for frame in range(shape[0]):
        one = graph.op("Gather", rows, graph.constant(frame, np.int64), axis=0)
        boxes, scores = graph.slice(one, 1, 0, 4), graph.slice(one, 1, 4, shape[1])
        label = graph.op("Cast", graph.op("ArgMax", scores, axis=1, keepdims=1), to=1)
        moved = graph.op("Add", boxes, graph.op("Mul", label, graph.constant(apart)))
        best = graph.reduce_max(scores, 1)
        for _ in range(2):
            best = graph.unsqueeze(best, 0)
        chosen = graph.op("NonMaxSuppression", graph.unsqueeze(moved, 0), best, *limits)
        index = graph.op("Gather", chosen, graph.constant([2], np.int64), axis=1)
        kept.append(graph.op("GatherND", boxes, index))
    del model.graph.output[:]
    for name in kept:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model
