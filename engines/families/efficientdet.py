"""EfficientDet as effdet's networks export: raw maps of scores and boxes at strides 8 to 128.

Ten outputs: (B, 9 * labels, h, w) logits for each stride, then (B, 36, h, w), what becomes of each
of a cell's 9 anchors: shifts and growths, vertical before horizontal (arXiv 1911.09070). Anchors
have 3 sizes of 3 shapes. How large they are, and what the network was fed with, no graph shows: the
user has to say it. All are letterboxed to the top left and padded with the mean.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from engines.families.family import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Candidates,
    Close,
    Family,
    Preprocessing,
    Recognised,
)
from engines.families.probe import values_of
from engines.faster_rcnn.boxes import decode

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_STRIDES = (8, 16, 32, 64, 128)
_EACH = 9
_BOX = 4
_RANK = 4
_SHAPES = ((1.0, 1.0), (1.4, 0.7), (0.7, 1.4))
"""Widths and heights of anchors of one size."""
_OCTAVES = (0, 1 / 3, 2 / 3)
_XYWH_OF_YXHW = np.array([1, 0, 3, 2])


class EfficientDet(Family):
    """See the module."""

    name = "efficientdet"
    models = "EfficientDet D0 to D6 by effdet: maps (1, 9 * labels, h, w) and (1, 36, h, w)"
    preprocessing = Preprocessing(
        letterbox="top-left",
        colours="RGB",
        scale=1 / 255,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    iou = 0.5
    side = 4.0
    """Of the smallest anchor, in strides."""

    def recognise(self, network: Network) -> Recognised | str:
        """Take such a pair of maps for each stride, whose scores on noise are logits."""
        levels = _levels(network)
        if not levels:
            return (
                f"outputs {network.outputs}, expected maps (1, {_EACH} * labels, h, w) and (1, "
                f"{_EACH * _BOX}, h, w) at strides {_STRIDES}"
            )
        found = values_of(network, [scores for scores, _ in levels], self.preprocessing)
        if all(part.min() >= 0 for part in found):
            return Close("on noise its maps of scores hold no logits: all are above 0")
        labels = found[0].shape[1] // _EACH
        maps = f"maps of {_EACH} * {labels} scores and of {_EACH} boxes"
        evidence = f"its outputs are {maps}, at strides {', '.join(map(str, _STRIDES))}"
        doubt = f"whether its anchors begin at {self.side:g} strides, and how it was fed"
        return Recognised(labels, (evidence,), (f"{doubt}, is not in the graph",))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Join the maps, anchor by anchor, and decode the best."""
        levels = _levels(network)
        labels = int(network.outputs[levels[0][0]][1]) // _EACH
        logits, deltas = (
            graph.op("Concat", *(_rows(graph, x[part], columns) for x in levels), axis=1)
            for part, columns in ((0, labels), (1, _BOX))
        )
        base = anchors(network.size_wh, self.side)
        held = graph.constant(base)

        def boxes(index: str) -> str:
            order = graph.constant(_XYWH_OF_YXHW, np.int64)
            moves = graph.op("Gather", graph.gather_rows(deltas, index), order, axis=2)
            chosen = graph.op("Gather", held, index, axis=0)
            return decode(graph, chosen, moves, (1.0, 1.0), network.size_wh)

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(logits, index), axis=2, keepdims=0)

        score = graph.op("Sigmoid", graph.reduce_max(logits, 2))
        return Candidates(len(base), score, boxes, label)


class EfficientDetLite(EfficientDet):
    """Its anchors are smaller, and it is fed -1..1."""

    name = "efficientdet-lite"
    models = "EfficientDet-lite 0 to 2 and 3x by effdet: as efficientdet, with smaller anchors"
    preprocessing = Preprocessing(
        letterbox="top-left",
        colours="RGB",
        scale=1 / 255,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        pad=128,
    )
    side = 3.0


def anchors(size_wh: tuple[int, int], side: float) -> npt.NDArray[np.float32]:
    """Return all anchors, xyxy in pixels, float32 (N, 4): level by level, cell by cell."""
    found = []
    for width, height in (_map_of(size_wh, stride) for stride in _STRIDES):
        step = np.array(size_wh) / (width, height)
        sizes = [side * 2**octave * np.array(shape) for octave, shape in product(_OCTAVES, _SHAPES)]
        half = np.array(sizes) * step / 2
        y, x = np.mgrid[:height, :width]
        centre = (np.stack([x.ravel(), y.ravel()], 1) + 0.5) * step
        corners = np.tile(centre, 2)[:, None] + np.hstack([-half, half])[None]
        found.append(corners.reshape(-1, _BOX))
    return np.vstack(found).astype(np.float32)


def _map_of(size_wh: tuple[int, int], stride: int) -> tuple[int, int]:
    """Return how many columns and rows a map has: halving rounds up."""
    return -(-size_wh[0] // stride), -(-size_wh[1] // stride)


def _levels(network: Network) -> list[tuple[str, str]]:
    """Return the maps of scores and of boxes, smallest stride first; empty where these are not."""
    found = []
    for stride in _STRIDES:
        size = _map_of(network.size_wh, stride)[::-1]
        maps = [
            name
            for name, shape in network.outputs.items()
            if len(shape) == _RANK and shape[2:] == size
        ]
        # Scores of four labels have the shape of boxes: those come first.
        maps.sort(key=lambda name: network.outputs[name][1] == _EACH * _BOX)
        channels = [network.outputs[name][1] for name in maps]
        if len(maps) != 2 or channels[1] != _EACH * _BOX or int(channels[0]) % _EACH:  # noqa: PLR2004
            return []
        found.append((maps[0], maps[1]))
    same = len({network.outputs[scores][1] for scores, _ in found}) == 1
    return found if same and len(network.outputs) == 2 * len(_STRIDES) else []


def _rows(graph: GraphBuilder, tensor: str, columns: int) -> str:
    """Turn a map (B, 9 * columns, h, w) into (B, 9 * h * w, columns)."""
    return graph.reshape(graph.op("Transpose", tensor, perm=[0, 2, 3, 1]), (0, -1, columns))
