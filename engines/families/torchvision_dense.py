"""RetinaNet and FCOS as torchvision exports them, with their post-processing.

Each map of the pyramid is decoded by itself: what scores over a threshold is picked, its box made
of an anchor. All behind that has a shape that depends on the frame; in front of it are, for each
map, the scores (n, labels), what the network says of the boxes (n, 4), and the anchors (n, 4), a
constant. They are found as what is picked by the same index, and taken where, decoded here, they
hold all that the export gives on noise once nothing is below its threshold. Resizing and
normalising are in the graph, which takes RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.families.torchvision import (
    KINDS,
    are_among,
    let_through,
    outputs_of,
    resized,
    scale_of,
)
from engines.faster_rcnn.boxes import decode
from engines.graph import constants, producers, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder, Shape
    from engines.reading.model import Network

_BOX = 4
_GROWTH = float(np.log(1000 / 16))


@dataclass(frozen=True, slots=True)
class Level:
    """One map: tensors (n, labels) and (n, 4), and its anchors, float32 (n, 4) xyxy in pixels."""

    scores: str
    deltas: str
    anchors: npt.NDArray[np.float32]


class TorchvisionRetinaNet(Family):
    """See the module."""

    name = "torchvision-retinanet"
    models = "torchvision RetinaNet: boxes (n, 4), scores (n) and labels (n)"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    iou = 0.5
    _scored_by = "Sigmoid"

    def recognise(self, network: Network) -> Recognised | str:
        """Take what holds all that the export gives on noise."""
        outputs = outputs_of(network)
        if outputs is None:
            return f"outputs {network.outputs}, expected {', '.join(KINDS)} of open number"
        levels = _levels(network.model, self._scored_by)
        if not levels:
            return (
                f"in front of its threshold are no maps of a {self._scored_by}'s scores and boxes "
                "that are picked with constant anchors"
            )
        tensors = [name for level in levels for name in (level.scores, level.deltas)]
        found = values_of(let_through(network), [*outputs, *tensors], self.preprocessing)
        given, made = found[: len(outputs)], found[len(outputs) :]
        scale = scale_of(network)
        corners = np.vstack([
            self._decoded(level.anchors, deltas)
            for level, deltas in zip(levels, made[1::2], strict=True)
        ])  # fmt: skip
        corners = np.clip(corners, 0, np.tile(resized(network), 2)) * np.tile(scale, 2)
        if not are_among(np.vstack(made[::2]), corners, given):
            return Close("what it gives on noise is not what its maps hold, decoded")
        labels, count = made[0].shape[1], len(corners)
        evidence = (
            f"it gives {', '.join(KINDS)} of open number",
            f"on noise they are all among {count} anchors of {len(levels)} maps, decoded",
            f"{labels} labels from 0 on, which torchvision leaves to the background",
        )
        return Recognised(labels, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Join the maps, and decode the best."""
        levels = _levels(network.model, self._scored_by)
        base = graph.constant(np.vstack([level.anchors for level in levels]))
        scores, deltas = (
            graph.unsqueeze(graph.op("Concat", *(getattr(x, part) for x in levels), axis=0), 0)
            for part in ("scores", "deltas")
        )

        def boxes(index: str) -> str:
            chosen = graph.op("Gather", base, index, axis=0)
            made = self._decode(graph, chosen, graph.gather_rows(deltas, index), resized(network))
            return graph.op("Mul", made, graph.constant(np.tile(scale_of(network), 2)))

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(scores, index), axis=2, keepdims=0)

        count = sum(len(level.anchors) for level in levels)
        return Candidates(count, graph.reduce_max(scores, 2), boxes, label)

    def _decoded(
        self, anchors: npt.NDArray[np.float32], deltas: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        """Return the corners (n, 4) before they are clipped: shifts and growths of the anchors."""
        size = anchors[:, 2:] - anchors[:, :2]
        centre = anchors[:, :2] + size / 2 + deltas[:, :2] * size
        half = np.exp(np.minimum(deltas[:, 2:], _GROWTH)) * size / 2
        return np.hstack([centre - half, centre + half])

    def _decode(
        self, graph: GraphBuilder, anchors: str, deltas: str, size_wh: tuple[int, int]
    ) -> str:
        return decode(graph, anchors, deltas, (1.0, 1.0), size_wh)


class TorchvisionFcos(TorchvisionRetinaNet):
    """The score is the root of the label's times the centre's; boxes are distances to the sides."""

    name = "torchvision-fcos"
    models = "torchvision FCOS: boxes (n, 4), scores (n) and labels (n)"
    iou = 0.6
    _scored_by = "Sqrt"

    def _decoded(
        self, anchors: npt.NDArray[np.float32], deltas: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.float32]:
        low, high = anchors[:, :2], anchors[:, 2:]
        sides = deltas * np.tile(high - low, 2)
        corners = np.tile((low + high) / 2, 2) + sides * [-1, -1, 1, 1]
        return corners.astype(np.float32)

    def _decode(
        self, graph: GraphBuilder, anchors: str, deltas: str, size_wh: tuple[int, int]
    ) -> str:
        low, high = graph.slice(anchors, 2, 0, 2), graph.slice(anchors, 2, 2, 4)
        middle = graph.op("Mul", graph.op("Add", low, high), graph.constant(0.5))
        size = graph.op("Sub", high, low)
        both = (graph.op("Concat", part, part, axis=2) for part in (middle, size))
        centre, sides = next(both), graph.op("Mul", deltas, next(both))
        outward = graph.op("Mul", sides, graph.constant([-1, -1, 1, 1]))
        low = graph.op("Max", graph.op("Add", centre, outward), graph.constant(0.0))
        return graph.op("Min", low, graph.constant(size_wh * 2))


def _levels(model: onnx.ModelProto, scored_by: str) -> list[Level]:
    """Return the maps, in the graph's order; empty where the graph has none."""
    known, shapes, made_by = constants(model.graph), _shapes(model), producers(model.graph)
    scores = {}
    for node in model.graph.node:
        shape = shapes.get(node.output[0], ())
        if node.op_type == scored_by and len(shape) == 2:  # noqa: PLR2004
            scores[shape[0]] = node.output[0]
    picks = [n for n in model.graph.node if n.op_type == "Gather" and n.input[0] not in made_by]
    levels = []
    for pick in picks:
        anchors = known.get(pick.input[0])
        if anchors is None or list(anchors.dims[1:]) != [_BOX] or anchors.dims[0] not in scores:
            continue
        deltas = [
            node.input[0]
            for node in model.graph.node
            if node.op_type == "Gather"
            and node.input[1] == pick.input[1]
            and node.input[0] in made_by
            and shapes.get(node.input[0]) == tuple(anchors.dims)
        ]
        if len(deltas) == 1:
            values = numpy_helper.to_array(anchors).astype(np.float32)
            levels.append(Level(scores[anchors.dims[0]], deltas[0], values))
    same = {shapes[level.scores][1] for level in levels}
    return levels if len(same) == 1 and len(levels) == len(scores) else []


def _shapes(model: onnx.ModelProto) -> dict[str, Shape]:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    return {value.name: shape_of(value) for value in inferred.value_info}
