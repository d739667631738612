"""Meituan's YOLOv6: decoded, or as the maps of its anchor-free head.

Decoded, its default: one output (B, cells, 5 + labels), cxcywh in input pixels, an objectness that
from 2.0 on is the constant 1 (release 0.1 had one, like YOLOX), and the labels' scores. As maps,
one per stride: (B, labels + 4, h, w), scores first, then the distances of the box's left, top,
right and bottom from the middle of the cell, in strides. Trained on RGB in 0..1, letterboxed to
the centre; an export with `--with-preprocess` takes BGR in 0..255, and its graph does the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.families.evidence import are_shares
from engines.families.family import Candidates, Family, Preprocessing, Recognised
from engines.families.grid import corners_and_strides, maps_strides
from engines.families.probe import values_of
from engines.families.rows import OBJECTNESS, candidates, find_rows
from engines.graph import attribute, producers
from engines.reading.focus import has_focus

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_SIDES = 4
_XYXY_OF_SIDES = np.diag([-1, -1, 1, 1]).astype(np.float32)


class Yolov6(Family):
    """See the module."""

    name = "yolov6"
    models = "YOLOv6: one output (1, cells, 5 + labels), or a map (1, labels + 4, h, w) per stride"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = 0.45

    def recognise(self, network: Network) -> Recognised | str:
        """Take decoded rows whose objectness is 1, or maps that join a sigmoid and distances."""
        if len(network.outputs) > 1:
            maps = _maps(network)
            return maps if isinstance(maps, str) else Recognised(maps.labels, maps.evidence())
        (output,) = network.outputs
        found = find_rows(network, output, 1)
        if isinstance(found, str):
            return found
        values = values_of(network, [output], self.preprocessing)[0][0]
        if reason := found.why_not(network, values):
            return reason
        if (values[:, OBJECTNESS] == 1).all():
            evidence = (*found.evidence(), "its objectness is always 1")
            return Recognised(found.labels, evidence)
        if has_focus(network.model):
            return "it begins with a Focus stem, which YOLOv6 has not"
        doubt = "its objectness is not always 1: YOLOv6 of release 0.1, or YOLOX"
        return Recognised(found.labels, found.evidence(), (doubt,))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every cell; gather the boxes of the best, and of maps decode only these."""
        if len(network.outputs) > 1:
            return self.accepted(network, _maps(network)).candidates(network, graph)
        (output,) = network.outputs
        return candidates(graph, self.accepted(network, find_rows(network, output, 1)))


@dataclass(frozen=True, slots=True)
class _Maps:
    """Outputs (B, labels + 4, h, w), smallest stride first, and what each joins."""

    labels: int
    strides: tuple[int, ...]
    scores: tuple[str, ...]
    sides: tuple[str, ...]
    count: int

    def evidence(self) -> tuple[str, ...]:
        strides = ", ".join(map(str, self.strides))
        return (
            f"its outputs are a map (1, {self.labels} + 4, h, w) for each of strides {strides}",
            "each map joins the scores of a sigmoid and 4 distances",
        )

    def candidates(self, network: Network, graph: GraphBuilder) -> Candidates:
        flat = [graph.reshape(name, (0, self.labels, -1)) for name in self.scores]
        scores = graph.op("Concat", *flat, axis=2)
        sides = graph.op(
            "Concat", *(graph.reshape(name, (0, _SIDES, -1)) for name in self.sides), axis=2
        )
        corners, steps = corners_and_strides(network.size_wh, self.strides)
        middles = np.vstack([corners + 0.5] * 2).T

        def decode(index: str) -> str:
            chosen = graph.gather_columns(sides, index, _SIDES)
            outward = graph.op(
                "MatMul",
                graph.op("Transpose", chosen, perm=[0, 2, 1]),
                graph.constant(_XYXY_OF_SIDES),
            )
            middle = graph.op("Gather", graph.constant(middles), index, axis=0)
            step = graph.op("Gather", graph.constant(steps.T), index, axis=0)
            return graph.op("Mul", graph.op("Add", middle, outward), step)

        def label(index: str) -> str:
            chosen = graph.gather_columns(scores, index, self.labels)
            return graph.op("ArgMax", chosen, axis=1, keepdims=0)

        return Candidates(self.count, graph.reduce_max(scores, 1), decode, label)


def _maps(network: Network) -> _Maps | str:
    by_stride = maps_strides(network.size_wh, network.outputs)
    if by_stride is None:
        return f"outputs {network.outputs}, expected a map (1, labels + 4, h, w) per stride"
    channels = {int(network.outputs[name][1]) for name in by_stride.values()}
    made_by = producers(network.model.graph)
    scores, sides = [], []
    for name in by_stride.values():
        node = made_by.get(name)
        parts = list(node.input) if node is not None and node.op_type == "Concat" else []
        sigmoid = made_by.get(parts[0]) if len(parts) == 2 else None  # noqa: PLR2004
        if node is None or sigmoid is None or sigmoid.op_type != "Sigmoid":
            return "its maps do not join the scores of a sigmoid and distances"
        if attribute(node, "axis") not in (1, -3):
            return "its maps are not joined along the channels"
        scores.append(parts[0])
        sides.append(parts[1])
    labels = channels.pop() - _SIDES
    shapes = values_of(network, [*scores, *sides], Yolov6.preprocessing)
    fits = all(a.shape[1] == labels for a in shapes[: len(scores)])
    if channels or labels < 1 or not fits or not all(map(are_shares, shapes[: len(scores)])):
        return "its maps do not join labels' scores, within 0..1, and 4 distances"
    count = sum(int(np.prod(a.shape[2:])) for a in shapes[: len(scores)])
    return _Maps(labels, tuple(by_stride), tuple(scores), tuple(sides), count)
