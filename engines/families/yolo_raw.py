"""YOLO's heads as convolutions leave them: YOLOv3, v4 and v5, decoded by us with given anchors.

An output per stride, (B, A * (5 + labels), h, w) as darknet has it, (B, A, h, w, 5 + labels) as
YOLOv5 with --train, or either with the channels last. The graph says neither which anchors it was
trained with nor how they are scaled, so both must be told: `--anchors`, or `anchors` in the
model's metadata, and the family:

    YOLOv3  centre = (sigmoid(xy) + cell) * stride, size = exp(wh) * anchor (arXiv 1804.02767)
    YOLOv4  the same, with sigmoid(xy) spread by 1.2, 1.1, 1.05 around the cell (arXiv 2004.10934)
    YOLOv5  centre = (2 * sigmoid(xy) - 0.5 + cell) * stride, size = (2 * sigmoid(wh))^2 * anchor

Scores are sigmoid(objectness) * sigmoid(label); where a sigmoid is already in the graph, as values
seen on noise show, it is not applied again. Of YOLOv5 and v7 with one label they are the objectness
alone, as in `engines.families.yolov5`; darknet's train that label, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.families.boxes import xyxy_of_cxcywh
from engines.families.evidence import are_shares
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.grid import cells, corners_and_strides, maps_strides
from engines.families.probe import values_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_ROW = 5
_CHANNELS, _SPLIT = 4, 5
"""Ranks: anchors and columns in one dimension, or in two."""
NO_ANCHORS = (
    "its raw heads need the anchors they were trained with: give --anchors W,H,W,H,… in pixels, "
    "smallest stride first, as in the .cfg or .yaml it was trained by"
)


@dataclass(frozen=True, slots=True)
class Heads:
    """The raw outputs by stride, smallest first, and how they are laid out."""

    outputs: dict[int, str]
    labels: int
    anchors: npt.NDArray[np.float32]
    """(strides, A, 2): widths and heights in pixels."""
    last: bool
    """Whether cells come before anchors and columns."""
    split: bool
    """Whether anchors and columns are dimensions of their own."""

    @property
    def by_cell(self) -> bool:
        """Whether the anchors of a cell are neighbours among the rows; else an anchor's cells are.

        Both are a matter of reading what is there, not of moving it.
        """
        return self.last or not self.split

    def rows(self, graph: GraphBuilder) -> str:
        """Append the heads as rows (B, N, 5 + labels), stride by stride; see `by_cell`."""
        flat = []
        for name in self.outputs.values():
            turned = name
            if not self.last and not self.split:
                turned = graph.op("Transpose", name, perm=[0, 2, 3, 1])
            flat.append(graph.reshape(turned, (0, -1, _ROW + self.labels)))
        return graph.op("Concat", *flat, axis=1)

    def columns(self, values: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Return one frame's rows (N, 5 + labels), in any order, of the outputs' values."""
        count, columns = self.anchors.shape[1], _ROW + self.labels
        if self.last or self.split:
            return np.concatenate([value[0].reshape(-1, columns) for value in values])
        return np.concatenate(
            [value[0].reshape(count, columns, -1).swapaxes(1, 2).reshape(-1, columns)
             for value in values]
        )  # fmt: skip


class Raw(Family):
    """What the three have in common."""

    iou = 0.45
    doubt = "the graph does not say how its boxes are decoded"
    trains_one_label = True

    def recognise(self, network: Network) -> Recognised | str:
        """Take an output per stride whose channels the anchors divide, if the user says so."""
        heads = self.heads(network)
        if isinstance(heads, str):
            return heads
        strides = ", ".join(map(str, heads.outputs))
        each = f"{heads.anchors.shape[1]} anchors of 5 + {heads.labels} columns"
        evidence: tuple[str, ...] = (
            f"its outputs are raw heads for strides {strides}, {each} each",
            f"anchors {heads.anchors.reshape(-1).tolist()} (else: --anchors)",
        )
        if heads.labels == 1 and not self.trains_one_label:
            evidence += ("with one label the objectness is the score: that label's is not trained",)
        return Recognised(heads.labels, evidence, (self.doubt,))

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every row; gather the best and decode only these."""
        heads = self.accepted(network, self.heads(network))
        values = values_of(network, list(heads.outputs.values()), self.preprocessing)
        seen = heads.columns(values)
        done = are_shares(seen[:, [0, 1, *range(4, seen.shape[1])]])
        sides_done = done and are_shares(seen[:, 2:4])
        return self.decoded(network.size_wh, graph, heads, done=done, sides_done=sides_done)

    def decoded(
        self,
        size_wh: tuple[int, int],
        graph: GraphBuilder,
        heads: Heads,
        *,
        done: bool = False,
        sides_done: bool = False,
    ) -> Candidates:
        """Score every row of heads; decode the best. `done`: their sigmoids were applied."""
        rows = heads.rows(graph)
        heard = [graph.squeeze(graph.slice(rows, 2, 4, _ROW), 2)]
        if heads.labels > 1 or self.trains_one_label:
            heard.append(graph.reduce_max(graph.slice(rows, 2, _ROW, _ROW + heads.labels), 2))
        scores = [x if done else graph.op("Sigmoid", x) for x in heard]
        score = graph.op("Mul", *scores) if len(scores) > 1 else scores[0]
        places = _Places.of(size_wh, heads)

        def decode(index: str) -> str:
            chosen = graph.gather_rows(rows, index)
            xy, wh = graph.slice(chosen, 2, 0, 2), graph.slice(chosen, 2, 2, 4)
            centre = xy if done else graph.op("Sigmoid", xy)
            return places.boxes(graph, index, self.spread(len(heads.outputs)), (
                centre, self.grown(graph, wh, done=sides_done)
            ))  # fmt: skip

        def label(index: str) -> str:
            chosen = graph.gather_rows(rows, index)
            named = graph.slice(chosen, 2, _ROW, _ROW + heads.labels)
            return graph.op("ArgMax", named, axis=2, keepdims=0)

        return Candidates(len(places.cells), score, decode, label)

    def heads(self, network: Network) -> Heads | str:
        """Return the raw outputs and their layout, or in a few words why they are no heads."""
        return _heads(network)

    def spread(self, strides: int) -> tuple[float, ...]:
        """Return per stride how far sigmoid(xy) is spread around the middle of the cell."""
        return (1.0,) * strides

    def grown(self, graph: GraphBuilder, wh: str, *, done: bool) -> str:
        """Append what the anchors are multiplied with; `done` where a sigmoid was applied."""
        del done
        return graph.op("Exp", wh)


class Yolov3(Raw):
    """See the module."""

    name = "yolov3"
    models = "YOLOv3's raw heads: an output (1, A * (5 + labels), h, w) per stride, with --anchors"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255, pad=128)


class Yolov4(Raw):
    """See the module."""

    name = "yolov4"
    models = "YOLOv4's raw heads, as yolov3"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255, pad=128)

    def spread(self, strides: int) -> tuple[float, ...]:
        """Return `scale_x_y` of yolov4.cfg, or of yolov4-tiny.cfg, which has two strides."""
        return (1.2, 1.1, 1.05) if strides == 3 else (1.05,) * strides  # noqa: PLR2004


class Yolov5Raw(Raw):
    """See the module."""

    name = "yolov5-raw"
    models = "YOLOv5's and v7's raw heads (and scaled YOLOv4's), with --anchors"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    trains_one_label = False

    def spread(self, strides: int) -> tuple[float, ...]:
        """Return 2: a centre may lie half a cell outside."""
        return (2.0,) * strides

    def grown(self, graph: GraphBuilder, wh: str, *, done: bool) -> str:
        """Append (2 * sigmoid)^2."""
        double = graph.op("Mul", wh if done else graph.op("Sigmoid", wh), graph.constant(2.0))
        return graph.op("Mul", double, double)


@dataclass(frozen=True, slots=True)
class _Places:
    """Of each row: its cell, (N, 2), its anchor, (N, 2), its stride and which that is, (N, 1)."""

    cells: npt.NDArray[np.float32]
    anchors: npt.NDArray[np.float32]
    steps: npt.NDArray[np.float32]
    levels: npt.NDArray[np.int64]

    @classmethod
    def of(cls, size_wh: tuple[int, int], heads: Heads) -> _Places:
        corners, anchors, steps, levels = [], [], [], []
        for level, (stride, given) in enumerate(zip(heads.outputs, heads.anchors, strict=True)):
            corner, step = corners_and_strides(size_wh, (stride,))
            number = corner.shape[1]
            anchor, cell = np.divmod(np.arange(len(given) * number), number)
            if heads.by_cell:
                cell, anchor = np.divmod(np.arange(len(given) * number), len(given))
            corners.append(corner.T[cell])
            steps.append(step.T[cell])
            anchors.append(given[anchor])
            levels.append(np.full((len(given) * number, 1), level))
        return cls(*(np.concatenate(x) for x in (corners, anchors, steps, levels)))

    def boxes(
        self, graph: GraphBuilder, index: str, spread: tuple[float, ...], parts: tuple[str, str]
    ) -> str:
        """Append xyxy, (B, K, 4), of the chosen rows' sigmoid(xy) and factors of their anchors."""
        centre, factors = parts
        wide = np.array(spread, np.float32)[self.levels]
        # (sigmoid * wide - (wide - 1) / 2 + cell) * stride is one product and one sum.
        slope, start = wide * self.steps, (self.cells - (wide - 1) / 2) * self.steps
        slopes, starts, anchors = (
            graph.op("Gather", graph.constant(values), index, axis=0)
            for values in (slope, start, self.anchors)
        )
        middle = graph.op("Add", graph.op("Mul", centre, slopes), starts)
        sides = graph.op("Mul", factors, anchors)
        return xyxy_of_cxcywh(graph, graph.op("Concat", middle, sides, axis=2))


def _heads(network: Network) -> Heads | str:
    ranks = {len(shape) for shape in network.outputs.values()}
    by_stride = maps_strides(network.size_wh, network.outputs)
    last = by_stride is None
    if by_stride is None:
        by_stride = maps_strides(network.size_wh, network.outputs, axes=(1, 2))
    if by_stride is None or len(ranks) != 1 or not ranks <= {_CHANNELS, _SPLIT}:
        return f"outputs {network.outputs}, expected a raw head per stride"
    anchors = given_anchors(network, len(by_stride))
    if isinstance(anchors, str):
        return Close(anchors)
    split = ranks == {_SPLIT}
    count = anchors.shape[1]
    columns = set()
    for stride, name in by_stride.items():
        shape = network.outputs[name]
        values = int(np.prod([int(n) for n in shape[1:]]))
        columns.add(values / (np.prod(cells(network.size_wh, stride)) * count))
    found = columns.pop()
    if columns or found != int(found) or found <= _ROW:
        return Close(f"outputs {network.outputs} are no heads of {count} anchors per cell")
    return Heads(by_stride, int(found) - _ROW, anchors, last, split)


def given_anchors(network: Network, strides: int) -> npt.NDArray[np.float32] | str:
    """Return widths and heights, (strides, A, 2), or in a few words what is wrong with them."""
    given = network.source.anchors or network.source.literal("anchors")
    if given is None:
        return NO_ANCHORS
    try:
        flat = np.asarray(given, np.float32).ravel()
    except (TypeError, ValueError):
        return f"`anchors` of its metadata are no numbers: {str(given)[:40]}; give --anchors"
    if not len(flat) or len(flat) % (2 * strides) or (flat <= 0).any():
        return f"expected widths and heights of anchors for {strides} strides, found {len(flat)}"
    return flat.reshape(strides, -1, 2)
