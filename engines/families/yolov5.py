"""YOLOv5 and v7, and what shares their head: decoded, three anchors per cell, no NMS.

An output (B, 3 * cells, 5 + labels): cxcywh in input pixels, objectness, labels' scores; the raw
heads may be exported beside it. Trained on RGB in 0..1, letterboxed to the centre. The score is
objectness times label; with one label it is the objectness, since its column is not trained: v5
starts it at 1, and v7's own script leaves it out.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from engines.families.anchored import find_heads
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.grid import cells
from engines.families.probe import values_of
from engines.families.rows import Rows, candidates, find_rows
from engines.families.yolo_raw import Yolov5Raw

if TYPE_CHECKING:
    from engines.graph import GraphBuilder, Shape
    from engines.reading.model import Network

_ANCHORS = 3
_ROW = 5


class Yolov5(Family):
    """See the module."""

    name = "yolov5"
    models = "YOLOv5, YOLOv7, Ultralytics' YOLOv3: an output (1, 3 * cells, 5 + labels), no NMS"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = 0.45

    def recognise(self, network: Network) -> Recognised | str:
        """Take one output of such rows; others must be the raw heads that it is made of."""
        found = _rows(network)
        if isinstance(found, str):
            return found
        (values,) = values_of(network, [found.output], self.preprocessing)
        if reason := found.why_not(network, values[0]):
            return reason
        evidence = found.evidence()
        if found.labels == 1:
            evidence += ("with one label the objectness is the score: that label's is not trained",)
        return Recognised(found.labels, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every row; decode the best, or gather them where that is done for all."""
        found = self.accepted(network, _rows(network))
        heads = find_heads(network, found, self.preprocessing)
        if heads is not None:
            return Yolov5Raw().decoded(network.size_wh, graph, heads)
        return candidates(graph, found, objectness_only=found.labels == 1)


def _rows(network: Network) -> Rows | str:
    outputs = network.outputs
    wide = [name for name, shape in outputs.items() if len(shape) == 3]  # noqa: PLR2004
    if len(wide) != 1:
        return f"{len(wide)} outputs of rank 3, expected one"
    found = find_rows(network, wide[0], _ANCHORS)
    if isinstance(found, str):
        return found
    others = [name for name in outputs if name != wide[0]]
    row = _ANCHORS * (found.labels + _ROW)
    heads = {prod(cells(network.size_wh, stride)) * row for stride in found.strides}
    if others and (len(others), {_values_in(outputs[n]) for n in others}) != (len(heads), heads):
        return Close(f"its outputs {others} are not the raw heads of {wide[0]!r}")
    return found


def _values_in(shape: Shape) -> int | None:
    """Return how many values a frame has."""
    return prod(int(n) for n in shape[1:]) if all(isinstance(n, int) for n in shape[1:]) else None
