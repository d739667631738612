"""Ultralytics' anchor-free detectors, exported without NMS: YOLOv8, v9, 11, 12, and v10, 26.

Its package exports v3, v5 and v6 of its own so, too, and v10 and 26 where asked not to go without
NMS.

One output, (B, 4 + labels, N): a candidate per cell of the grid, cxcywh in input pixels, then the
labels' scores, already through a sigmoid. Trained on RGB in 0..1, letterboxed to the centre.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from engines.families.boxes import xyxy_of_cxcywh
from engines.families.distribution import find_distribution
from engines.families.evidence import are_corners_on_grid, are_shares, why_not_on_grid
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.grid import strides_of
from engines.families.probe import values_of
from engines.graph import attribute, producers, shape_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.graph import GraphBuilder, Shape
    from engines.reading.model import Network

_BOX = 4
_MOVES = {"Transpose", "Reshape", "Concat", "Slice", "Split", "Squeeze", "Unsqueeze"}


class Ultralytics(Family):
    """See the module."""

    name = "ultralytics"
    models = "Ultralytics YOLOv8, v9, 11, 12 and others: one output (1, 4 + labels, N), no NMS"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = 0.7

    def recognise(self, network: Network) -> Recognised | str:
        """Take one output whose N fits the grid and that joins boxes and sigmoid scores."""
        if len(set(network.outputs.values())) != 1:
            return f"outputs {network.outputs}, expected one (1, 4 + labels, N)"
        output, shape = _main(network)
        if len(shape) != 3 or not all(isinstance(n, int) for n in shape[1:]):  # noqa: PLR2004
            return f"output {shape}, expected (1, 4 + labels, N)"
        rows, count = int(shape[1]), int(shape[2])
        strides = strides_of(network.size_wh, count)
        if rows <= _BOX or strides is None:
            return f"output {shape}: N is not the cells of the {network.size_wh} grid"
        corners = _are_corners(network, output, strides)
        if isinstance(corners, str):
            return corners
        shaped = (
            f"output {output!r} is (1, 4 + {rows - _BOX}, {count}), and {count} is one "
            f"candidate per cell at strides {', '.join(map(str, strides))}"
        )
        doubts: tuple[str, ...] = ()
        if _parts(network.model, output) is None:
            doubts = ("its output does not join just 4 box rows and a sigmoid's scores",)
        elif len(network.outputs) > 1:
            doubts = (f"it has {len(network.outputs)} such outputs: YOLOv9's main is the last",)
        if doubts:
            return Recognised(rows - _BOX, (shaped,), doubts)
        rows_are = "corners" if corners else "centre, width and height"
        joins = f"it joins 4 box rows, {rows_are}, and scores that come out of a sigmoid"
        return Recognised(rows - _BOX, (shaped, joins, *_producer(network)))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take boxes and scores before they are joined, and the sigmoid of the best score only.

        Where the boxes are distributions (v8 and later), only the K best are decoded at all.
        """
        output, shape = _main(network)
        rows, count = int(shape[1]), int(shape[2])
        strides = strides_of(network.size_wh, count) or ()
        corners = self.accepted(network, _are_corners(network, output, strides))
        parts = _parts(network.model, output)
        if parts is not None:
            boxes, logits = parts
            late = find_distribution(network, boxes, strides)
            # A sigmoid keeps the order: the best logit's score is the best score.
            score = graph.op("Sigmoid", graph.reduce_max(logits, 1))
        else:
            late = None
            boxes = graph.slice(output, 1, 0, _BOX)
            logits = graph.slice(output, 1, _BOX, rows)
            score = graph.reduce_max(logits, 1)

        def decode(index: str) -> str:
            if late is not None:
                return late.decode(graph, index)
            chosen = graph.op("Transpose", graph.gather_columns(boxes, index, _BOX), perm=[0, 2, 1])
            return chosen if corners else xyxy_of_cxcywh(graph, chosen)

        def labels(index: str) -> str:
            chosen = graph.gather_columns(logits, index, rows - _BOX)
            return graph.op("ArgMax", chosen, axis=1, keepdims=0)

        return Candidates(count, score, decode, labels)


def _main(network: Network) -> tuple[str, Shape]:
    """Return the output that counts and its shape: YOLOv9 gives its auxiliary branch first.

    Where rows and columns are exchanged at last, that is what it was before.
    """
    output, shape = list(network.outputs.items())[-1]
    last = producers(network.model.graph).get(output)
    if last is None or last.op_type != "Transpose" or attribute(last, "perm") != [0, 2, 1]:
        return output, shape
    joins = _parts(network.model, last.input[0]) is not None
    return (last.input[0], (shape[0], shape[2], shape[1])) if joins else (output, shape)


def _are_corners(network: Network, output: str, strides: tuple[int, ...]) -> bool | Close:
    """Return whether its boxes are xyxy, as before an embedded NMS, or cxcywh, or why neither."""
    if _more_than_scores(network.model, output):
        return Close(
            "its output joins boxes, a sigmoid's scores, and rows that no sigmoid makes: the "
            "angles of rotated boxes, key points or parts of masks"
        )
    values = values_of(network, [output], Ultralytics.preprocessing)[0][0]
    boxes = values[:_BOX].T
    # NaN is of a broken model, not of another one: the build says where it comes from.
    if not are_shares(np.nan_to_num(values[_BOX:])):
        return Close(
            "what follows its 4 rows of boxes goes beyond 0..1, so is no score; key points, parts "
            "of masks, and scores before their sigmoid do"
        )
    reason = why_not_on_grid(boxes, network.size_wh, strides, 1)
    if reason is not None and are_corners_on_grid(boxes, network.size_wh, strides):
        return True
    return reason or False


def _parts(model: onnx.ModelProto, output: str) -> tuple[str, str] | None:
    """Return the box rows' tensor and the scores' logits, where the output joins just these."""
    made_by = producers(model.graph)
    joined = made_by.get(output)
    if joined is None or joined.op_type != "Concat" or len(joined.input) != 2:  # noqa: PLR2004
        return None
    boxes, scores = joined.input
    sigmoid = made_by.get(scores)
    if attribute(joined, "axis") not in (1, -2) or sigmoid is None or sigmoid.op_type != "Sigmoid":
        return None
    return (boxes, sigmoid.input[0]) if _rows(model, boxes) in (_BOX, None) else None


def _more_than_scores(model: onnx.ModelProto, output: str) -> bool:
    """Return whether the output joins boxes, scores, and more that is not a sigmoid's."""
    made_by = producers(model.graph)
    joined = made_by[output]
    if joined.op_type != "Concat":
        return False
    makers = [_maker(made_by, name) for name in joined.input[1:]]
    return "Sigmoid" in makers and not {"Sigmoid"}.issuperset(makers)


def _maker(made_by: Mapping[str, onnx.NodeProto], name: str) -> str:
    """Return the operator whose values a tensor holds, in whatever order."""
    node = made_by.get(name)
    while node is not None and node.op_type in _MOVES:
        node = made_by.get(node.input[0])
    return "" if node is None else str(node.op_type)


def _rows(model: onnx.ModelProto, tensor: str) -> int | str | None:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True)
    for value in inferred.graph.value_info:
        if value.name == tensor:
            return shape_of(value)[1]
    return None


def _producer(network: Network) -> tuple[str, ...]:
    description = network.source.metadata.get("description", "")
    if "ultralytics" in f"{description} {network.source.metadata.get('author', '')}".lower():
        return (f"its metadata says {description.split(' trained on ')[0]!r}",)
    return ()
