"""RT-DETR as Ultralytics exports it: one output, boxes cxcywh in 0..1 and sigmoids.

Up to 8.3 it joins the boxes and the labels' sigmoids, (B, Q, 4 + labels), and each query counts
under its best label. Later ones take the best Q pairs in the graph: (B, Q, 6) with score and label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.families.detr import RtDetr, best_label, corners_of, in_unit
from engines.families.end_to_end import label_count
from engines.families.evidence import are_shares
from engines.families.family import Candidates, Close, Family, Recognised
from engines.families.probe import values_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX = 4
_RANK = 3
_SCORE, _LABEL, _COLUMNS = 4, 5, 6


class RtDetrUltralytics(Family):
    """See the module."""

    name = "rt-detr-ultralytics"
    models = "Ultralytics RT-DETR: one output (1, Q, 4 + labels) or (1, Q, 6), no NMS"
    preprocessing = RtDetr.preprocessing
    iou = None

    def recognise(self, network: Network) -> Recognised | str:
        """Take one output of boxes in 0..1 and sigmoids, of a network that samples features."""
        shape = next(iter(network.outputs.values()))
        fits = len(network.outputs) == 1 and len(shape) == _RANK
        if not fits or not isinstance(shape[2], int) or shape[2] <= _BOX:
            return f"outputs {network.outputs}, expected one (1, Q, 4 + labels) or (1, Q, 6)"
        if not any(node.op_type == "GridSample" for node in network.model.graph.node):
            return "no query samples features: it has no GridSample"
        return self._seen(network, next(iter(network.outputs)))

    def _seen(self, network: Network, output: str) -> Recognised | str:
        (values,) = values_of(network, [output], self.preprocessing)
        _, queries, columns = values.shape
        if not in_unit(values[..., :_BOX]):
            return Close("on noise its first four columns are no cxcywh in 0..1")
        samples = "its queries sample features (GridSample)"
        if _are_rows(values):
            labels = label_count(network, output)
            if labels is None:
                return Close("neither its graph nor its metadata says how many labels there are")
            rows = f"its output is {queries} rows: 4 box columns in 0..1, a score, a label's number"
            return Recognised(labels, (rows, samples))
        if not are_shares(values[..., _BOX:]):
            return Close("on noise what follows its boxes is not within 0..1")
        joined = f"its output is of {queries} queries, 4 box columns in 0..1 and sigmoids"
        return Recognised(columns - _BOX, (joined, samples))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Give each query its best label, or take the rows apart."""
        ((output, shape),) = network.outputs.items()
        queries, columns = int(shape[1]), int(shape[2])
        (values,) = values_of(network, [output], self.preprocessing)
        if not _are_rows(values):
            shares = graph.slice(output, 2, _BOX, columns)
            return best_label(network, graph, (shares, graph.slice(output, 2, 0, _BOX)), queries)

        def decode(index: str) -> str:
            chosen = graph.slice(graph.gather_rows(output, index), 2, 0, _BOX)
            return corners_of(network, graph, chosen)

        def label(index: str) -> str:
            column = graph.slice(graph.gather_rows(output, index), 2, _LABEL, _COLUMNS)
            return graph.op("Cast", graph.squeeze(column, 2), to=7)

        score = graph.squeeze(graph.slice(output, 2, _SCORE, _LABEL), 2)
        return Candidates(queries, score, decode, label)


def _are_rows(values: npt.NDArray[np.float32]) -> bool:
    """Return whether (1, Q, 6) are boxes, falling scores and whole numbers."""
    if values.shape[2] != _COLUMNS:
        return False
    score, label = values[0, :, _SCORE], values[0, :, _LABEL]
    falling = are_shares(score) and bool((np.diff(score) <= 0).all())
    return falling and bool((label == label.round()).all() and label.min() >= 0)
