"""Small detectors whose boxes and scores are two tensors, and the NMS that exporters put behind."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto, helper

from engines.graph import GraphBuilder


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
