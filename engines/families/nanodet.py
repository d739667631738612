"""NanoDet: scores and distance distributions on the grid (Generalized Focal Loss, 2006.04388).

One output, (B, N, labels + 4 * 8): a candidate per cell, the labels' sigmoids, then for each side
of the box 8 logits whose expectation is its distance in strides; or such a pair of outputs for each
stride, as PicoDet has without its post-processing. NanoDet-Plus measures from a cell's corner at
strides 8 to 64, NanoDet before it from its centre at strides 8 to 32, some with 11 logits. Trained
on BGR, normalised; NanoDet-Plus resized without bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.families.evidence import are_shares
from engines.families.family import (
    IMAGENET_BGR_MEAN,
    IMAGENET_BGR_STD,
    IMAGENET_STRETCHED,
    Candidates,
    Close,
    Family,
    Preprocessing,
    Recognised,
)
from engines.families.grid import cells, corners_and_strides, strides_of
from engines.families.probe import values_of
from engines.graph import tail_operators

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_SIDES = 4
_BINS = (8, 11, 17)
"""Logits per side: `reg_max` 7, 10 (NanoDet-g, -EfficientNet-Lite, -RepVGG) or 16, and 0."""
_RANK = 3


@dataclass(frozen=True, slots=True)
class _Head:
    """How many labels and logits per side there are, and where.

    `parts` are the outputs of the scores and of the sides, from the smallest stride on; the same
    where one output joins all.
    """

    labels: int
    bins: int
    parts: tuple[tuple[str, ...], tuple[str, ...]]

    @property
    def joined(self) -> bool:
        """Whether one output holds all."""
        return self.parts[0] == self.parts[1]


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
    clips = True
    """Whether boxes end at the frame's edge before NMS, not only behind it."""
    roots = False
    """Whether scores may be the roots of label times quality."""

    def recognise(self, network: Network) -> Recognised | str:
        """Take candidates of every cell: columns that are sigmoids, and logits that are not."""
        head = _head(network, self.strides, self.preprocessing)
        if isinstance(head, str):
            return head
        if not self.roots and _has_roots(network, head):
            return Close("its scores are roots of two sigmoids' product, as PicoDet's")
        evidence = (
            f"its candidates are the cells at strides {', '.join(map(str, self.strides))}",
            f"on noise {head.labels} columns are sigmoids, and {_SIDES * head.bins} more are not",
        )
        return Recognised(head.labels, evidence, self._doubts(network, head))

    def _doubts(self, network: Network, head: _Head) -> tuple[str, ...]:  # noqa: ARG002
        """Return what could be otherwise: PicoDet gives pairs at the strides of NanoDet-Plus."""
        pairs = len(network.outputs) > 1
        return ("PicoDet has such pairs of outputs, and is fed otherwise",) if pairs else ()

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every cell; decode the distributions of the best."""
        head = self.accepted(network, _head(network, self.strides, self.preprocessing))
        if head.joined:
            ((output, shape),) = network.outputs.items()
            scores = graph.slice(output, 2, 0, head.labels)
            sides = graph.slice(output, 2, head.labels, int(shape[2]))
        else:
            scores, sides = (graph.op("Concat", *head.parts[i], axis=1) for i in (0, 1))
        grid, steps = corners_and_strides(network.size_wh, self.strides)
        starts = (grid + self.offset) * steps

        def decode(index: str) -> str:
            chosen = graph.reshape(graph.gather_rows(sides, index), (0, -1, _SIDES, head.bins))
            bins = graph.constant(np.arange(head.bins)[:, None])
            shares = graph.op("Softmax", chosen, axis=3)
            far = graph.squeeze(graph.op("MatMul", shares, bins), 3)
            step = graph.op("Gather", graph.constant(steps.T), index, axis=0)
            outward = graph.op("Mul", graph.op("Mul", far, step), graph.constant([-1, -1, 1, 1]))
            start = graph.op("Gather", graph.constant(np.tile(starts.T, 2)), index, axis=0)
            boxes = graph.op("Add", start, outward)
            return _within(graph, boxes, network.size_wh) if self.clips else boxes

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
    strides = (8, 16, 32)
    offset = 0.5

    def _doubts(self, network: Network, head: _Head) -> tuple[str, ...]:  # noqa: ARG002
        doubt = "NanoDet-EfficientNet-Lite is fed otherwise: --mean 127,127,127 --std 128,128,128"
        return (doubt,) if head.bins > min(_BINS) else ()


class PicoDetRaw(NanoDetPlus):
    """PicoDet exported without its post-processing, by Paddle2ONNX: only as pairs."""

    name = "picodet-raw"
    models = (
        "PicoDet without post-processing: outputs (1, n, labels) and (1, n, 32) for each stride"
    )
    preprocessing = IMAGENET_STRETCHED
    offset = 0.5
    clips, roots = False, True

    def recognise(self, network: Network) -> Recognised | str:
        """Take such pairs, which NanoDet-Plus has, too."""
        if len(network.outputs) == 1:
            return "one output, expected a pair for each stride"
        return super().recognise(network)

    def _doubts(self, network: Network, head: _Head) -> tuple[str, ...]:
        """Return that it may be NanoDet-Plus: the first PicoDet scored as that does."""
        if _has_roots(network, head):
            return ()
        return ("NanoDet-Plus has such pairs of outputs, and is fed otherwise",)


def _head(network: Network, strides: tuple[int, ...], fed: Preprocessing) -> _Head | str:
    """Return the one output, or the pairs of scores and sides, if on noise they are such."""
    shapes = network.outputs
    levels = _levels(network, strides)
    if not levels:
        widths = " or ".join(str(_SIDES * bins) for bins in _BINS)
        return (
            f"outputs {shapes}, expected (1, N, labels + {widths}), or (1, n, labels) and "
            f"(1, n, {widths}) for each of the strides {strides}"
        )
    found = dict(zip(shapes, values_of(network, list(shapes), fed), strict=True))
    head = _joined(found) if len(shapes) == 1 else _pairs(found, levels)
    return head or Close(
        "on noise its columns are no sigmoids, within 0..1, beside as many logits for each side"
    )


def _joined(found: Mapping[str, npt.NDArray[np.float32]]) -> _Head | None:
    ((output, values),) = found.items()
    for bins in _BINS:
        labels = values.shape[2] - _SIDES * bins
        if labels > 0 and _are_scores(values[..., :labels], values[..., labels:]):
            return _Head(labels, bins, ((output,), (output,)))
    return None


def _pairs(found: Mapping[str, npt.NDArray[np.float32]], levels: list[list[str]]) -> _Head | None:
    pairs = [sorted(level, key=lambda name: not are_shares(found[name])) for level in levels]
    scores, sides = (tuple(pair[i] for pair in pairs) for i in (0, 1))
    labels, ends = ({found[name].shape[2] for name in names} for names in (scores, sides))
    bins = [n for n in _BINS if ends == {_SIDES * n}]
    if len(labels) > 1 or not bins or not all(_are_scores(found[a], found[b]) for a, b in pairs):
        return None
    return _Head(labels.pop(), bins[0], (scores, sides))


def _are_scores(scores: npt.NDArray[np.float32], sides: npt.NDArray[np.float32]) -> bool:
    """Return whether these are sigmoids, and those logits."""
    return are_shares(scores) and not are_shares(sides)


def _levels(network: Network, strides: tuple[int, ...]) -> list[list[str]]:
    """Return the one output, or the two of each stride, where their rows are the cells'."""
    shapes = network.outputs
    if not all(
        len(shape) == _RANK and all(isinstance(n, int) for n in shape[1:])
        for shape in shapes.values()
    ):
        return []
    if len(shapes) == 1:
        ((output, shape),) = shapes.items()
        return [[output]] if strides_of(network.size_wh, int(shape[1])) == strides else []
    counts = [columns * rows for columns, rows in (cells(network.size_wh, s) for s in strides)]
    levels = [[name for name, shape in shapes.items() if shape[1] == n] for n in counts]
    return levels if [len(level) for level in levels] == [2] * (len(shapes) // 2) else []


def _has_roots(network: Network, head: _Head) -> bool:
    """Return whether scores are roots of the product of two sigmoids: of label and quality."""
    return "Sqrt" in tail_operators(network.model.graph, head.parts[0][0])


def _within(graph: GraphBuilder, boxes: str, size_wh: tuple[int, int]) -> str:
    """Clip boxes to the frame, as NanoDet does before its NMS."""
    low = graph.op("Max", boxes, graph.constant(0.0))
    return graph.op("Min", low, graph.constant(size_wh * 2))
