"""RT-DETR of PaddleDetection, by Paddle2ONNX: one output of rows, and how many they are.

Inputs `image`, `im_shape` and `scale_factor`, which become constants (see `engines.reading`);
outputs (B * K, 6), label, score and xyxy in pixels, the best K pairs of a query and a label after a
sigmoid, and (B). Trained on RGB in 0..1, resized without bars. Its frames' numbers are in its graph
as constants, so that it stays at a batch of 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import numpy_helper

from engines.families.detr import RtDetr, has_hybrid_encoder
from engines.families.family import Candidates, Close, Family, Recognised
from engines.families.pp_yoloe import takes_scale
from engines.graph import constants, producers, tail_producers

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_COLUMNS = 6
_LABEL, _SCORE, _BOX = 0, 1, 2
_WAY = {"Reshape": 0, "Concat": _SCORE, "Unsqueeze": 0, "TopK": 0, "Flatten": 0}
"""Ops between the rows and the sigmoids of their scores, and which input leads there."""


class PaddleRtDetr(Family):
    """See the module."""

    name = "rt-detr-paddle"
    models = "PaddleDetection's RT-DETR: one output (K, 6), label, score, xyxy, and its length"
    preprocessing = RtDetr.preprocessing
    iou = None

    def recognise(self, network: Network) -> Recognised | str:
        """Take such rows where they are the best of a sigmoid."""
        rows = _rows(network)
        if rows is None or not takes_scale(network):
            return f"outputs {network.outputs}, expected rows (K, 6) and their number"
        labels = _label_count(network, rows)
        if labels is None or not _are_best_sigmoids(network, rows):
            return Close("its rows are not the best of sigmoids of queries and labels")
        doubts = ("no convolution follows its attention; it is fed pixels in 0..1",)
        evidence = (
            f"output {rows!r} {network.outputs[rows]} is the best of queries x {labels} labels",
            "convolutions follow its attention, as in RT-DETR",
        )
        sure = has_hybrid_encoder(network)
        return Recognised(labels, evidence[: 1 + sure], () if sure else doubts)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the columns apart."""
        rows = _rows(network) or ""
        count = int(network.outputs[rows][0])
        one = graph.reshape(rows, (1, count, _COLUMNS))

        def decode(index: str) -> str:
            return graph.slice(graph.gather_rows(one, index), 2, _BOX, _COLUMNS)

        def label(index: str) -> str:
            column = graph.slice(graph.gather_rows(one, index), 2, _LABEL, _SCORE)
            return graph.op("Cast", graph.squeeze(column, 2), to=7)

        score = graph.squeeze(graph.slice(one, 2, _SCORE, _BOX), 2)
        return Candidates(count, score, decode, label)


def _rows(network: Network) -> str | None:
    """Return the output of rows where there is one beside one number."""
    rows = [name for name, shape in network.outputs.items() if shape[1:] == (_COLUMNS,)]
    counts = [shape for shape in network.outputs.values() if len(shape) == 1]
    whole = len(rows) == len(counts) == 1 and len(network.outputs) == 2  # noqa: PLR2004
    return rows[0] if whole and isinstance(network.outputs[rows[0]][0], int) else None


def _are_best_sigmoids(network: Network, rows: str) -> bool:
    """Return whether the rows' second column is a top-k of sigmoids."""
    made_by, met = producers(network.model.graph), set[str]()
    node = made_by.get(rows)
    while node is not None and node.op_type in _WAY:
        met.add(node.op_type)
        node = made_by.get(node.input[_WAY[node.op_type]])
    return node is not None and node.op_type == "Sigmoid" and "TopK" in met


def _label_count(network: Network, rows: str) -> int | None:
    """Return what the number of a pair is divided by: its rest is the label."""
    known = constants(network.model.graph)
    for node in tail_producers(network.model.graph, rows):
        if node.op_type == "Mod" and node.input[1] in known:
            return int(numpy_helper.to_array(known[node.input[1]]).item())
    return None
