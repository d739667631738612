"""YOLOX, exported without decoding (its default), raw offsets on the grid, or decoded.

One output, (B, N, 5 + labels): per cell x, y offsets and log width, height in strides, then
objectness and the labels' scores, both already through a sigmoid. Boxes are decoded as in the
paper (arXiv 2107.08430, from YOLOv3's): centre = (xy + cell) * stride, size = exp(wh) * stride,
score = objectness * label. Decoded, they are cxcywh in input pixels. Trained on BGR in 0..255,
letterboxed to the top left; the checkpoints of its first release (0.1.0), which were normalised,
are not meant.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.grid import corners_and_strides, strides_of
from engines.families.probe import values_of
from engines.families.rows import OBJECTNESS, candidates, find_rows
from engines.graph import producers, tail_operators
from engines.reading.focus import has_focus

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import onnx

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX = 4
_FIRST_LABEL = 5
_UNDECODED = {"Transpose", "Concat", "Reshape", "Flatten", "Sigmoid", "Conv"}
_MOVES = {"Transpose", "Reshape", "Flatten"}


@dataclass(frozen=True, slots=True)
class _Level:
    """One stride's branches, (B, channels, h, w): raw boxes, and logits."""

    boxes: str
    objectness: str
    labels: str


class Yolox(Family):
    """See the module."""

    name = "yolox"
    models = "YOLOX: one output (1, cells, 5 + labels), boxes decoded or not, no NMS"
    preprocessing = Preprocessing(letterbox="top-left", colours="BGR")
    iou = 0.45

    def recognise(self, network: Network) -> Recognised | str:
        """Take one output that joins, level by level, raw boxes and two sigmoids."""
        if len(network.outputs) != 1:
            return f"{len(network.outputs)} outputs, expected one"
        ((output, shape),) = network.outputs.items()
        if len(shape) != 3 or not all(isinstance(n, int) for n in shape[1:]):  # noqa: PLR2004
            return f"output {shape}, expected (1, N, 5 + labels)"
        count, columns = int(shape[1]), int(shape[2])
        strides = strides_of(network.size_wh, count)
        if columns <= _FIRST_LABEL or strides is None:
            return f"output {shape}: N is not the cells of the {network.size_wh} grid"
        operators = tail_operators(network.model.graph, output)
        if operators - _UNDECODED:
            return _decoded_rows(network, output, self.preprocessing)
        if len(_levels(network.model, output)) != len(strides):
            return Close("its output does not join raw boxes and two sigmoids at each stride")
        shaped = (
            f"output {output!r} is (1, {count}, 5 + {columns - _FIRST_LABEL}), and {count} is one "
            f"candidate per cell at strides {', '.join(map(str, strides))}"
        )
        joins = "each stride joins raw, undecoded boxes and two sigmoids: objectness and labels"
        return Recognised(columns - _FIRST_LABEL, (shaped, joins))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every cell; gather the raw boxes of the best and decode only these.

        The branches are taken before they are joined, and each sigmoid is applied to the best
        label only: it keeps the order.
        """
        ((output, shape),) = network.outputs.items()
        count, columns = int(shape[1]), int(shape[2])
        levels = _levels(network.model, output)
        if not levels:
            return candidates(graph, self.accepted(network, find_rows(network, output, 1)))
        boxes = _joined(graph, [graph.reshape(level.boxes, (0, _BOX, -1)) for level in levels], 2)
        objectness = _joined(graph, [graph.reshape(x.objectness, (0, -1)) for x in levels], 1)
        labels = _joined(graph, [_rows(graph, x.labels, columns - _FIRST_LABEL) for x in levels], 1)
        score = graph.op(
            "Mul",
            graph.op("Sigmoid", objectness),
            graph.op("Sigmoid", graph.reduce_max(labels, 2)),
        )
        strides = strides_of(network.size_wh, count) or ()
        grid = corners_and_strides(network.size_wh, strides)

        def decode(index: str) -> str:
            raw = graph.gather_columns(boxes, index, _BOX)
            return _decoded(graph, graph.op("Transpose", raw, perm=[0, 2, 1]), index, grid)

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(labels, index), axis=2, keepdims=0)

        return Candidates(count, score, decode, label)


def _decoded_rows(network: Network, output: str, fed: Preprocessing) -> Recognised | str:
    """Take rows decoded in the graph; which family's they are, only a Focus stem tells."""
    found = find_rows(network, output, 1)
    if isinstance(found, str):
        return found
    values = values_of(network, [output], fed)[0][0]
    if reason := found.why_not(network, values):
        return Close(f"its boxes are decoded in the graph, and {reason}")
    if (values[:, OBJECTNESS] == 1).all():
        return "its objectness is always 1, as YOLOv6 has it"
    if has_focus(network.model):
        stem = "it begins with a Focus stem, as YOLOX does"
        return Recognised(found.labels, (*found.evidence(), stem))
    doubt = "it does not begin with a Focus stem: YOLOX-Darknet53, or YOLOv6 of release 0.1"
    return Recognised(found.labels, found.evidence(), (doubt,))


def _decoded(
    graph: GraphBuilder,
    raw: str,
    index: str,
    grid: tuple[npt.NDArray[np.float32], ...],
) -> str:
    """Return xyxy, (B, K, 4), of raw boxes (B, K, 4) of the cells that `index` (B, K) names."""
    cells, strides = (
        graph.op("Gather", graph.constant(values.T), index, axis=0) for values in grid
    )
    offset, log_size = graph.slice(raw, 2, 0, 2), graph.slice(raw, 2, 2, 4)
    centre = graph.op("Add", offset, cells)
    half = graph.op("Mul", graph.op("Exp", log_size), graph.constant(0.5))
    corners = graph.op(
        "Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2
    )
    return graph.op("Mul", corners, strides)


def _joined(graph: GraphBuilder, parts: list[str], axis: int) -> str:
    return graph.op("Concat", *parts, axis=axis)


def _rows(graph: GraphBuilder, tensor: str, columns: int) -> str:
    """Turn (B, columns, h, w) into (B, h * w, columns), so that a cell's labels lie together."""
    return graph.reshape(graph.op("Transpose", tensor, perm=[0, 2, 3, 1]), (0, -1, columns))


def _levels(model: onnx.ModelProto, output: str) -> list[_Level]:
    """Return the branches that the output joins, smallest stride first; none if it is not so."""
    made_by = producers(model.graph)
    levels = []
    for part in _concatenated(made_by, output):
        match [made_by.get(name) for name in _concatenated(made_by, part)]:
            case [boxes, objectness, labels] if (
                boxes
                and objectness
                and labels
                and (boxes.op_type, objectness.op_type, labels.op_type)
                == ("Conv", "Sigmoid", "Sigmoid")
            ):
                levels.append(_Level(boxes.output[0], objectness.input[0], labels.input[0]))
            case _:
                return []
    return levels


def _concatenated(made_by: dict[str, onnx.NodeProto], tensor: str) -> list[str]:
    """Return what the Concat above `tensor` joins, looking through what only moves values."""
    node = made_by.get(tensor)
    while node is not None and node.op_type in _MOVES:
        node = made_by.get(node.input[0])
    return list(node.input) if node is not None and node.op_type == "Concat" else []
