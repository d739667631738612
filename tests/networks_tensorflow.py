"""A small SSD with random weights, in the graph that tf2onnx makes of TensorFlow's."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper, parser

from tests.networks import _stem, anchor_count
from tests.networks_ssd import PRIORS, _heads, priors

RESIZE = """
resize (int64 i, bool go) => (bool again, float[c, h, w] resized) {
    again = Identity (go)
    image = Gather (Cast__0, i)
    batched = Unsqueeze (image, zero)
    planes = Transpose <perm = [0, 3, 1, 2]> (batched)
    larger = Resize <mode = "linear", coordinate_transformation_mode = "half_pixel">
        (planes, , , sizes)
    resized = Squeeze (larger, zero)
}
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


def tensorflow(*, labels=3, side=64, resizer=True, mapped=True):
    """Four outputs of an uint8 image, channels last, with embedded NMS.

    `resizer`: a Loop in front resizes to `side`. `mapped`: a Loop goes over the batch's NMS.
    """
    model, graph, features = _stem((side, side), 1, 17, seed=4, scale=1 / 255)
    _constants(model, side)
    before = [helper.make_node("Cast", ["input_tensor"], ["Cast__0"], to=TensorProto.FLOAT)]
    if resizer:
        body = parser.parse_graph(RESIZE)
        before.append(helper.make_node("Loop", ["trips", "true"], ["images"], body=body))
    else:
        before.append(helper.make_node("Transpose", ["Cast__0"], ["images"], perm=[0, 3, 1, 2]))
    image = helper.make_tensor_value_info("input_tensor", TensorProto.UINT8, [1, "h", "w", 3])
    nodes = [*before, *model.graph.node]
    del model.graph.node[:], model.graph.input[:]
    model.graph.node.extend(nodes)
    model.graph.input.append(image)
    _decode(graph, features, labels, side)
    body = parser.parse_graph(NMS)
    if mapped:
        graph.graph.node.append(helper.make_node("Loop", ["trips", "true"], OUTPUTS, body=body))
    else:
        _inline(graph, body)
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
    for name, value in {"one": 1, "iou": 0.6, "least": 0.01}.items():
        shape = [] if name == "one" else [1]
        model.graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, shape, [value]))
    model.graph.initializer.append(helper.make_tensor("true", TensorProto.BOOL, [], [True]))


def _decode(graph, features, labels, side):
    """Make `decoded` (1, N, 4) yxyx and `shown` (1, N, labels), as the API's box coder does."""
    rng = np.random.default_rng(4)
    prior = priors((side, side))[:, [1, 0, 3, 2]]
    raw, logits = _heads(graph, features, rng, 4), _heads(graph, features, rng, 1 + labels)
    shift = graph.op("Mul", graph.slice(raw, 2, 0, 2), graph.constant(0.1 * prior[:, 2:]))
    centre = graph.op("Add", shift, graph.constant(prior[:, :2]))
    grown = graph.op("Exp", graph.op("Mul", graph.slice(raw, 2, 2, 4), graph.constant(0.2)))
    half = graph.op("Mul", grown, graph.constant(prior[:, 2:] / 2))
    corners = graph.op("Sub", centre, half), graph.op("Add", centre, half)
    graph.publish(graph.op("Concat", *corners, axis=2), "decoded")
    graph.publish(graph.slice(graph.op("Sigmoid", logits), 2, 1, 1 + labels), "shown")
    assert PRIORS * anchor_count((side, side)) == len(prior)


def _inline(graph, body):
    """Write the NMS of one image without a Loop, as is done where the batch is fixed to 1."""
    names = dict(zip(("n", "boxes", "scores", "classes"), OUTPUTS, strict=True))
    graph.graph.initializer.append(helper.make_tensor("i", TensorProto.INT64, [], [0]))
    for node in body.node[1:]:
        if node.output[0] in names:
            made = f"{node.output[0]}/of_one"
            add = "Unsqueeze"
            axis = helper.make_node(add, [made, "zero"], [names[node.output[0]]])
            node.output[0] = made
            graph.graph.node.extend([node, axis])
        else:
            graph.graph.node.append(node)
