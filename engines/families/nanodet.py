"""NanoDet: scores and distance distributions on the grid (Generalized Focal Loss, 2006.04388).

One output, (B, N, labels + 4 * 8): a candidate per cell, the labels' sigmoids, then for each side
of the box 8 logits whose expectation is its distance in strides; or such a pair of outputs for each
stride. NanoDet-Plus measures from a cell's corner at strides 8 to 64, NanoDet before it from its
centre at strides 8 to 32. Trained on BGR, normalised; NanoDet-Plus resized without bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.families.family import (
    IMAGENET_BGR_MEAN,
    IMAGENET_BGR_STD,
    IMAGENET_MEAN,
    IMAGENET_STD,
    Candidates,
    Close,
    Family,
    Preprocessing,
    Recognised,
)
from engines.families.grid import cells, corners_and_strides, strides_of
from engines.families.probe import values_of

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.model import Network

_SIDES = 4
_BINS = 8
_ENDS = _SIDES * _BINS
_RANK = 3
_OLDER = (8, 16, 32)
"""Strides of NanoDet before "Plus"."""


class NanoDetPlus(Family):
    """See the module."""

    name = "nanodet-plus"
    models = "NanoDet-Plus: (1, N, labels + 32) at strides 8 to 64, or a pair of outputs for each"
    preprocessing = Preprocessing(
        letterbox="stretch", colours="BGR", mean=IMAGENET_BGR_MEAN, std=IMAGENET_BGR_STD
    )
    iou = 0.6
    strides: tuple[int, ...] = (8, 16, 32, 64)
    offset = 0.0
    """Where in its cell, in strides, distances start."""

    def recognise(self, network: Network) -> Recognised | str:
        """Take candidates of every cell, whose first columns are sigmoids and the last 32 not."""
        levels = _levels(network, self.strides)
        if not levels:
            return (
                f"outputs {network.outputs}, expected (1, N, labels + {_ENDS}), or (1, n, labels) "
                f"and (1, n, {_ENDS}) for each of the strides {self.strides}"
            )
        found = dict(
            zip(
                network.outputs,
                values_of(network, list(network.outputs), self.preprocessing),
                strict=True,
            )
        )
        if len(levels) == 1:
            joined = found[levels[0][0]]
            scores, sides = [joined[..., :-_ENDS]], [joined[..., -_ENDS:]]
        else:
            scores, sides = ([found[pair[i]] for pair in levels] for i in (0, 1))
        if not all(part.min() >= 0 and part.max() <= 1 for part in scores):
            return Close(
                f"on noise the columns before its last {_ENDS} are not within 0..1: no sigmoids"
            )
        if all(part.min() >= 0 and part.max() <= 1 for part in sides):
            return Close(
                f"on noise its last {_ENDS} columns are within 0..1: no distributions' logits"
            )
        labels = scores[0].shape[-1]
        evidence = (
            f"its candidates are the cells at strides {', '.join(map(str, self.strides))}",
            f"on noise {labels} columns are sigmoids, and {_ENDS} more are not",
        )
        return Recognised(labels, evidence, self._doubts(network))

    def _doubts(self, network: Network) -> tuple[str, ...]:
        """Return what could be otherwise: PicoDet gives pairs at the strides of NanoDet-Plus."""
        pairs = len(network.outputs) > 1 and len(self.strides) > len(_OLDER)
        return ("PicoDet has such pairs of outputs, and is fed otherwise",) if pairs else ()

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every cell; decode the distributions of the best."""
        levels = _levels(network, self.strides)
        if len(levels) == 1:
            ((output, shape),) = network.outputs.items()
            labels = int(shape[2]) - _ENDS
            scores = graph.slice(output, 2, 0, labels)
            sides = graph.slice(output, 2, labels, labels + _ENDS)
        else:
            scores, sides = (
                graph.op("Concat", *(pair[i] for pair in levels), axis=1) for i in (0, 1)
            )
        grid, steps = corners_and_strides(network.size_wh, self.strides)
        starts = (grid + self.offset) * steps

        def decode(index: str) -> str:
            chosen = graph.reshape(graph.gather_rows(sides, index), (0, -1, _SIDES, _BINS))
            bins = graph.constant(np.arange(_BINS)[:, None])
            shares = graph.op("Softmax", chosen, axis=3)
            far = graph.squeeze(graph.op("MatMul", shares, bins), 3)
            step = graph.op("Gather", graph.constant(steps.T), index, axis=0)
            outward = graph.op("Mul", graph.op("Mul", far, step), graph.constant([-1, -1, 1, 1]))
            start = graph.op("Gather", graph.constant(np.tile(starts.T, 2)), index, axis=0)
            return _within(graph, graph.op("Add", start, outward), network.size_wh)

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(scores, index), axis=2, keepdims=0)

        return Candidates(grid.shape[1], graph.reduce_max(scores, 2), decode, label)


class NanoDet(NanoDetPlus):
    """NanoDet before "Plus"."""

    name = "nanodet"
    models = "NanoDet 0.x: as nanodet-plus, at strides 8 to 32 and letterboxed on black"
    preprocessing = Preprocessing(
        letterbox="centered", colours="BGR", mean=IMAGENET_BGR_MEAN, std=IMAGENET_BGR_STD, pad=0
    )
    strides = _OLDER
    offset = 0.5


class PicoDetRaw(NanoDetPlus):
    """PicoDet exported without its post-processing, by Paddle2ONNX: only as pairs."""

    name = "picodet-raw"
    models = (
        "PicoDet without post-processing: outputs (1, n, labels) and (1, n, 32) for each stride"
    )
    preprocessing = Preprocessing(
        letterbox="stretch",
        colours="RGB",
        scale=1 / 255,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    offset = 0.5

    def recognise(self, network: Network) -> Recognised | str:
        """Take such pairs, which NanoDet-Plus has, too."""
        if len(network.outputs) == 1:
            return "one output, expected a pair for each stride"
        return super().recognise(network)

    def _doubts(self, network: Network) -> tuple[str, ...]:  # noqa: ARG002
        return ("NanoDet-Plus has such pairs of outputs, and is fed otherwise",)


def _levels(network: Network, strides: tuple[int, ...]) -> list[tuple[str, ...]]:
    """Return the one output, or the pairs of scores and sides from the smallest stride on."""
    shapes = network.outputs
    if not all(
        len(shape) == _RANK and all(isinstance(n, int) for n in shape[1:])
        for shape in shapes.values()
    ):
        return []
    if len(shapes) == 1:
        ((output, shape),) = shapes.items()
        fits = strides_of(network.size_wh, int(shape[1])) == strides and int(shape[2]) > _ENDS
        return [(output,)] if fits else []
    pairs = []
    for stride in strides:
        columns, rows = cells(network.size_wh, stride)
        level = [name for name, shape in shapes.items() if shape[1] == columns * rows]
        level.sort(key=lambda name: shapes[name][2] == _ENDS)
        if len(level) != 2 or shapes[level[1]][2] != _ENDS:  # noqa: PLR2004
            return []
        pairs.append(tuple(level))
    same = len({shapes[scores][2] for scores, _ in pairs}) == 1
    return pairs if same and len(shapes) == 2 * len(strides) else []


def _within(graph: GraphBuilder, boxes: str, size_wh: tuple[int, int]) -> str:
    """Clip boxes to the frame, as NanoDet does before its NMS."""
    low = graph.op("Max", boxes, graph.constant(0.0))
    return graph.op("Min", low, graph.constant(size_wh * 2))
