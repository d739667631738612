"""Detectors trained to give each object once, exported with their own top-k: YOLOv10, YOLO26.

One output (B, K, 6), best first: xyxy in input pixels, the score, the label's number. Trained on
RGB in 0..1, letterboxed to the centre. There is no NMS, and none is added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from engines.families.evidence import are_shares
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.graph import constants, tail_operators, tail_producers

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_COLUMNS = 6
_SCORE, _LABEL = 4, 5
_DATA_DEPENDENT = {"NonMaxSuppression", "NonZero", "If", "Loop"}
_NORMALISED = 2.0
_TURNED = 0.25
"""Share of corners that may be in the wrong order: YOLO26's distances are not bounded below.

Centres and sizes, read as corners, are turned in about half.
"""


class EndToEnd(Family):
    """See the module."""

    name = "end-to-end"
    models = "YOLOv10, YOLO26 and others without NMS: one output (1, K, 6), xyxy, score, label"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = None

    def recognise(self, network: Network) -> Recognised | str:
        """Take one output of such rows that a top-k makes, and know the number of labels."""
        if reason := _why_not_made_so(network):
            return reason
        ((output, shape),) = network.outputs.items()
        rows = values_of(network, [output], self.preprocessing)[0][0]
        # Where its exporter says so, boxes on noise, which no one has trained, need not look right.
        stated = network.source.metadata.get("end2end") == "True"
        if reason := _why_not(rows, 1.0 if stated else _TURNED):
            return reason
        labels = label_count(network, output)
        if labels is None:
            return Close("neither its graph nor its metadata says how many labels there are")
        evidence = (
            f"output {output!r} is (1, {shape[1]}, 6), the best {shape[1]} of a top-k",
            "on noise its rows are corners in pixels, falling scores, and labels' numbers",
        )
        return Recognised(labels, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the columns apart."""
        ((output, shape),) = network.outputs.items()
        score = graph.squeeze(graph.slice(output, 2, _SCORE, _LABEL), 2)

        def decode(index: str) -> str:
            return graph.slice(graph.gather_rows(output, index), 2, 0, _SCORE)

        def label(index: str) -> str:
            column = graph.slice(graph.gather_rows(output, index), 2, _LABEL, _COLUMNS)
            return graph.op("Cast", graph.squeeze(column, 2), to=7)

        return Candidates(int(shape[1]), score, decode, label)


def _why_not_made_so(network: Network) -> str | None:
    """Return why the graph gives no such rows, or None where it may."""
    if len(network.outputs) != 1:
        return f"{len(network.outputs)} outputs, expected one"
    ((output, shape),) = network.outputs.items()
    if len(shape) != 3 or shape[2] != _COLUMNS or not isinstance(shape[1], int):  # noqa: PLR2004
        return f"output {shape}, expected (1, K, 6)"
    operators = tail_operators(network.model.graph, output)
    if operators & _DATA_DEPENDENT:
        return Close("it ends in an NMS of its own")
    if "TopK" not in operators:
        return Close("its output is not the best K of something: no TopK makes it")
    return None


def _why_not(rows: npt.NDArray[np.float32], may_be_turned: float) -> str | None:
    """Return why (K, 6) seen on noise are not such rows, or None where they are."""
    boxes, score, label = rows[:, :_SCORE], rows[:, _SCORE], rows[:, _LABEL]
    if not are_shares(score) or (np.diff(score) > 0).any():
        return Close("its fifth column is not falling scores within 0..1")
    if (label != label.round()).any() or label.min() < 0:
        return Close("its sixth column is not labels' numbers")
    if (boxes[:, 2:] < boxes[:, :2]).mean() > may_be_turned:
        return Close("its boxes are not corners, xyxy")
    if np.abs(boxes).max() <= _NORMALISED:
        return Close("its corners are in 0..1, not in pixels of the input")
    return None


def label_count(network: Network, output: str) -> int | None:
    """Return how many labels there are: what the number in the flattened top-k is divided by."""
    known = constants(network.model.graph)
    for node in tail_producers(network.model.graph, output):
        if node.op_type == "Mod" and node.input[1] in known:
            return int(numpy_helper.to_array(known[node.input[1]]).item())
    names = network.source.literal("names")
    return len(names) if isinstance(names, (dict, list)) and names else None
