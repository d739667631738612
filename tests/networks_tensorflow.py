"""A small SSD with random weights, in the graph that tf2onnx makes of TensorFlow's."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, parser

from tests.networks import _stem, anchor_count
from tests.networks_ssd import PRIORS, _heads, priors

RESIZE = """
resize (int64 i, bool go) => (bool again, float[h, w, c] resized) {
    again = Identity (go)
    image = Gather (Cast__0, i)
    batched = Unsqueeze (image, zero)
    scaled = Mul (batched, normalise)
    moved = Sub (scaled, one)
    planes = Transpose <perm = [0, 3, 1, 2]> (moved)
    %s
    whole = Transpose <perm = [0, 2, 3, 1]> (larger)
    resized = Squeeze (whole, zero)
}
"""
STRETCH = """
    larger = Resize <mode = "linear", coordinate_transformation_mode = "asymmetric">
        (planes, , , sizes)
"""
LETTERBOX = """
    shape = Shape <start = 2> (planes)
    lengths = Cast <to = 1> (shape)
    longest = ReduceMax (lengths)
    factor = Div (side, longest)
    exact = Mul (lengths, factor)
    rounded = Round (exact)
    kept = Cast <to = 7> (rounded)
    two = Slice (sizes, zero, two_at)
    wanted = Concat <axis = 0> (two, kept)
    part = Resize <mode = "linear", coordinate_transformation_mode = "asymmetric">
        (planes, , , wanted)
    missing = Sub (sizes, wanted)
    nothing = Sub (sizes, sizes)
    pads = Concat <axis = 0> (nothing, missing)
    larger = Pad (part, pads)
"""
NMS = """
suppress (int64 i, bool go) =>
    (bool again, float n, float[m, 4] boxes, float[m] scores, float[m] classes) {
    again = Identity (go)
    box = Gather (decoded, i)
    all_boxes = Unsqueeze (box, zero)
    score = Gather (shown, i)
    score_rows = Transpose (score)
    all_scores = Unsqueeze (score_rows, zero)
    chosen = NonMaxSuppression (all_boxes, all_scores, most, iou, least)
    label = Slice (chosen, one_at, two_at, one_at)
    which = Slice (chosen, two_at, three_at, one_at)
    anchor = Squeeze (which, one_at)
    boxes = Gather (box, anchor)
    pair = Concat <axis = 1> (which, label)
    scores = GatherND (score, pair)
    flat = Squeeze (label, one_at)
    counted = Cast <to = 1> (flat)
    classes = Add (counted, one)
    size = Size (flat)
    n = Cast <to = 1> (size)
}
"""
OUTPUTS = ("num_detections", "detection_boxes", "detection_scores", "detection_classes")


def tensorflow(
    *, labels=3, side=64, resizer=STRETCH, mapped=True, size=("h", "w"), stages=1, unit=1
):
    """Four outputs of an uint8 image, channels last, with embedded NMS.

    `resizer`: a Loop in front resizes to `side`, and normalises. `mapped`: a Loop goes over the
    batch's NMS; else it stands bare, one for each label. `size`: the image's height and width. Two
    `stages`: what another NMS keeps is what the NMS is fed with; without any, there is no NMS.
    `unit`: how long the picture's sides are to boxes.
    """
    scale = 1 / 2 if resizer else 1 / 255
    model, graph, features = _stem((side, side), 1, 17, seed=4, scale=scale)
    _constants(model, side)
    before = [helper.make_node("Cast", ["input_tensor"], ["Cast__0"], to=TensorProto.FLOAT)]
    looped = "Cast__0"
    if resizer:
        body, looped = parser.parse_graph(RESIZE % resizer), "mapped"
        before.append(helper.make_node("Loop", ["trips", "true"], [looped], body=body))
    before.append(helper.make_node("Transpose", [looped], ["images"], perm=[0, 3, 1, 2]))
    image = helper.make_tensor_value_info("input_tensor", TensorProto.UINT8, [1, *size, 3])
    nodes = [*before, *model.graph.node]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(image)
    _decode(graph, features, labels, side, unit)
    if stages > 1:
        _propose(graph)
    if not stages:
        _choose(graph)
    elif mapped:
        body = parser.parse_graph(NMS)
        graph.graph.node.append(helper.make_node("Loop", ["trips", "true"], OUTPUTS, body=body))
    else:
        _suppress_each(graph, labels)
    for name, rank in zip(OUTPUTS, (1, 3, 2, 2), strict=True):
        value = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["a", "b", 4][:rank])
        model.graph.output.append(value)
    return model


def _constants(model, side):
    whole = {
        "trips": 1, "zero": [0], "one_at": [1], "two_at": [2], "three_at": [3],
        "sizes": [1, 3, side, side], "most": [20],
    }  # fmt: skip
    for name, value in whole.items():
        shape = np.shape(value)
        values = np.ravel(value).tolist()
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.INT64, shape, values))
    numbers = {"one": 1, "iou": 0.6, "least": 0.01, "normalise": 2 / 255, "side": side}
    for name, value in numbers.items():
        shape = [1] if name in {"iou", "least"} else []
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, shape, [value]))
    model.graph.initializer.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))


def _decode(graph, features, labels, side, unit):
    """Make `decoded` (1, N, 4) yxyx and `shown` (1, N, labels), as the API's box coder does."""
    rng = np.random.default_rng(4)
    prior = priors((side, side))[:, [1, 0, 3, 2]]
    # As of a network's first days, some boxes lie beside the picture.
    prior[::9, 0] -= 2
    raw, logits = _heads(graph, features, rng, 4), _heads(graph, features, rng, 1 + labels)
    shift = graph.op("Mul", graph.slice(raw, 2, 0, 2), graph.constant(0.1 * prior[:, 2:]))
    centre = graph.op("Add", shift, graph.constant(prior[:, :2]))
    grown = graph.op("Exp", graph.op("Mul", graph.slice(raw, 2, 2, 4), graph.constant(0.2)))
    half = graph.op("Mul", grown, graph.constant(prior[:, 2:] / 2))
    corners = graph.op("Sub", centre, half), graph.op("Add", centre, half)
    boxes = graph.op("Concat", *corners, axis=2)
    graph.publish(graph.op("Mul", boxes, graph.constant(float(unit))), "decoded")
    graph.publish(graph.slice(graph.op("Sigmoid", logits), 2, 1, 1 + labels), "shown")
    assert PRIORS * anchor_count((side, side)) == len(prior)


def _suppress_each(graph, labels):
    """Write an NMS for each label without a Loop, as is done where the batch is fixed to 1."""
    (boxes,) = graph.split(graph.unsqueeze("decoded", 2), 0, 1)
    (of_one,) = graph.split("shown", 0, 1)
    boxes, of_one = graph.squeeze(graph.squeeze(boxes, 0), 1), graph.squeeze(of_one, 0)
    parts = []
    for label in range(labels):
        column = graph.reshape(graph.slice(of_one, 1, label, label + 1), (-1,))
        row = graph.reshape(column, (1, 1, -1))
        fed = (graph.unsqueeze(boxes, 0), row, "most", "iou", "least")
        chosen = graph.op("NonMaxSuppression", *fed)
        which = graph.reshape(graph.slice(chosen, 1, 2, 3), (-1,))
        score = graph.op("Gather", column, which)
        same = graph.op("Mul", score, graph.constant(0.0))
        parts.append((graph.op("Gather", boxes, which), score, same, label + 1))
    found = [graph.op("Concat", *(x[part] for x in parts), axis=0) for part in (0, 1)]
    numbers = [graph.op("Add", same, graph.constant(float(label))) for *_, same, label in parts]
    found.append(graph.op("Concat", *numbers, axis=0))
    found.insert(0, graph.op("Cast", graph.op("Size", found[2]), to=TensorProto.FLOAT))
    for name, tensor in zip(OUTPUTS, found, strict=True):
        graph.publish(graph.unsqueeze(tensor, 0), name)


def _propose(graph):
    """Let `decoded` and `shown` be what an NMS of the first label's scores keeps."""
    score = graph.op("Transpose", graph.slice("shown", 2, 0, 1), perm=[0, 2, 1])
    chosen = graph.op("NonMaxSuppression", "decoded", score, "most", "iou", "least")
    which = graph.reshape(graph.slice(chosen, 1, 2, 3), (-1,))
    for name in ("decoded", "shown"):
        graph.publish(graph.op("Gather", name, which, axis=1), name)


def _choose(graph):
    """Give the best 20 without an NMS, as CenterNet does with its peaks."""
    best = graph.reduce_max("shown", 2)
    score, which = graph.ops("TopK", 2, best, graph.constant([20], np.int64), axis=1)
    count = graph.constant([20.0])
    for name, tensor in zip(
        OUTPUTS, (count, graph.gather_rows("decoded", which), score, score), strict=True
    ):
        graph.publish(graph.op("Identity", tensor), name)
