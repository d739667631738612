"""SSD as TensorFlow's object detection API exports it, converted to ONNX by tf2onnx.

Its NMS, and the resizer in front, are cut off before (`engines.reading`). What is left gives
boxes (B, N, 4), corners yxyx in 0..1, and scores (B, N, labels) through a sigmoid or softmax, the
background already left out. Trained on RGB in 0..255, resized as its resizer was seen to do:
without bars, or, as for EfficientDet, to the top left. The graph normalises by itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engines.families.evidence import why_not_shares_of_the_picture
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.reading.tensorflow import BOXES, SCORES, is_tensorflow

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_XYXY_OF_YXYX = np.array([1, 0, 3, 2])


class SsdTensorflow(Family):
    """See the module."""

    name = "ssd-tensorflow"
    models = "SSD of TensorFlow's object detection API, by tf2onnx: boxes, scores, classes, number"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB")
    iou = 0.6

    def recognise(self, network: Network) -> Recognised | str:
        """Take what `engines.reading` has cut."""
        given = [value.name for value in network.source.model.graph.output]
        if not is_tensorflow(given):
            return f"outputs {given}, expected detection_boxes, …_scores, …_classes, num_detections"
        if set(network.outputs) != {BOXES, SCORES}:
            return Close(
                "its NMS is not fed with one box (1, N, 4) and scores (1, N, labels) per anchor"
            )
        count, labels = network.outputs[SCORES][1:]
        if not isinstance(count, int) or not isinstance(labels, int):
            return Close(f"its NMS is fed with scores of open shape {network.outputs[SCORES]}")
        (corners,) = values_of(network, [BOXES], self.preprocessing)
        against = why_not_shares_of_the_picture(BOXES, corners)
        if against is not None:
            return against
        evidence = (
            "its outputs have the names of TensorFlow's object detection API",
            f"in front of its NMS, which is cut off, are {count} boxes and their {labels} scores",
        )
        if network.bars is None:
            return Recognised(labels, evidence)
        told = f"its resizer was seen to leave bars of the colour {network.bars}"
        grey = round(sum(network.bars) / 3)
        fed = replace(self.preprocessing, letterbox="top-left", pad=grey)
        return Recognised(labels, (*evidence, told), preprocessing=fed)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Bring the corners to xyxy and to pixels; boxes beside the picture score nothing."""
        count = int(network.outputs[SCORES][1])

        def decode(index: str) -> str:
            chosen = graph.gather_rows(BOXES, index)
            order = graph.constant(_XYXY_OF_YXYX, np.int64)
            corners = graph.op("Gather", chosen, order, axis=2)
            return graph.op("Mul", corners, graph.constant(network.size_wh * 2))

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(SCORES, index), axis=2, keepdims=0)

        inside = graph.op("Clip", BOXES, graph.constant(0.0), graph.constant(1.0))
        low, high = graph.slice(inside, 2, 0, 2), graph.slice(inside, 2, 2, 4)
        beside = graph.reduce_max(graph.op("Sub", low, high), 2)
        seen = graph.op("Less", beside, graph.constant(0.0))
        best = graph.reduce_max(SCORES, 2)
        score = graph.op("Where", seen, best, graph.constant(0.0))
        return Candidates(count, score, decode, label)
