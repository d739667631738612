"""Heads that give one row per candidate, (B, N, 5 + labels): cxcywh, objectness, labels' scores.

YOLOv5, v7, v6 and a decoded YOLOX say it so; they differ in how many candidates a cell has, how
they are fed, and what the objectness is. Boxes are in pixels of the input, all else is 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.families.boxes import xyxy_of_cxcywh
from engines.families.evidence import are_shares, why_not_on_grid
from engines.families.family import Candidates, Close
from engines.families.grid import strides_of
from engines.graph import constants, producers

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

OBJECTNESS = 4
_FIRST_LABEL = 5
_MOVES = {"Concat", "Identity", "Reshape", "Transpose"}


@dataclass(frozen=True, slots=True)
class Rows:
    """An output that holds such rows, `anchors` per cell."""

    output: str
    count: int
    labels: int
    anchors: int
    strides: tuple[int, ...]

    def why_not(self, network: Network, values: npt.NDArray[np.float32]) -> Close | None:
        """Return why values seen on noise, (N, 5 + labels), are not such rows, or None if they are.

        They decide, not the shape alone: scores are within 0..1, and boxes at their cells.
        """
        if _are_products(network.model.graph, self.output):
            return Close(
                "what follows its boxes are products: of the objectness and the labels' scores, so "
                "that it has no column of its own"
            )
        if not are_shares(values[:, OBJECTNESS:]):
            return Close("what follows its 4 columns of boxes goes beyond 0..1, so is no score")
        boxes = values[:, :OBJECTNESS]
        reasons = [
            why_not_on_grid(boxes, network.size_wh, strides, self.anchors)
            for strides in (self.strides, self.strides[::-1])  # YOLOv3 gives the largest first
        ]
        return None if None in reasons else reasons[0]

    def evidence(self) -> tuple[str, ...]:
        """Return what says that it holds them, for people."""
        each = "one candidate" if self.anchors == 1 else f"{self.anchors} candidates"
        strides = ", ".join(map(str, self.strides))
        shape = f"(1, {self.count}, 5 + {self.labels})"
        return (
            f"output {self.output!r} is {shape}: {each} per cell at strides {strides}",
            "on noise its boxes lie at their cells, and all that follows them is within 0..1",
        )


def find_rows(network: Network, output: str, anchors: int) -> Rows | str:
    """Return the rows that an output may hold by its shape, or in a few words why it cannot."""
    shape = network.outputs[output]
    wanted = "expected (1, cells, 5 + labels)"
    if anchors > 1:
        wanted = f"expected (1, {anchors} * cells, 5 + labels)"
    if len(shape) != 3 or not all(isinstance(n, int) for n in shape[1:]):  # noqa: PLR2004
        return f"output {shape}, {wanted}"
    count, columns = int(shape[1]), int(shape[2])
    strides = strides_of(network.size_wh, count // anchors) if count % anchors == 0 else None
    if columns <= _FIRST_LABEL or strides is None:
        return f"output {shape}, {wanted} of the {network.size_wh} grid"
    return Rows(output, count, columns - _FIRST_LABEL, anchors, strides)


def _are_products(graph: onnx.GraphProto, output: str) -> bool:
    """Return whether the last columns are made by multiplying two tensors, neither a constant."""
    made_by, known = producers(graph), constants(graph)
    node = made_by.get(output)
    while node is not None and node.op_type in _MOVES:
        node = made_by.get(node.input[-1 if node.op_type == "Concat" else 0])
    return node is not None and node.op_type == "Mul" and known.keys().isdisjoint(node.input)


def candidates(graph: GraphBuilder, rows: Rows, *, objectness_only: bool = False) -> Candidates:
    """Append the scores: objectness times the best label's, or the objectness alone."""
    score = graph.squeeze(graph.slice(rows.output, 2, OBJECTNESS, _FIRST_LABEL), 2)
    if not objectness_only:
        named = graph.slice(rows.output, 2, _FIRST_LABEL, _FIRST_LABEL + rows.labels)
        score = graph.op("Mul", score, graph.reduce_max(named, 2))

    def decode(index: str) -> str:
        chosen = graph.gather_rows(rows.output, index)
        return xyxy_of_cxcywh(graph, graph.slice(chosen, 2, 0, OBJECTNESS))

    def label(index: str) -> str:
        chosen = graph.gather_rows(rows.output, index)
        named = graph.slice(chosen, 2, _FIRST_LABEL, _FIRST_LABEL + rows.labels)
        return graph.op("ArgMax", named, axis=2, keepdims=0)

    return Candidates(rows.count, score, decode, label)
