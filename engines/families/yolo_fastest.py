"""YOLO-FastestV2: heads whose labels all anchors of a cell share, with `--anchors`.

An output for each of the strides 16 and 32, (B, h, w, 5 * A + labels): for each anchor a box of
four sigmoids, then each anchor's objectness, a sigmoid, then the labels' softmax. Boxes are
YOLOv5's; score = objectness * label. Trained on BGR in 0..1, resized without bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engines.families.evidence import are_shares
from engines.families.family import Close, Preprocessing, Recognised
from engines.families.grid import maps_strides
from engines.families.probe import values_of
from engines.families.yolo_raw import NO_ANCHORS, Heads, Yolov5Raw, given_anchors

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX, _ROW = 4, 5
_RANK = 4
_USUAL = 3
_SUM = 1e-3


@dataclass(frozen=True, slots=True)
class _Shared(Heads):
    """Heads of this kind."""

    @property
    def by_cell(self) -> bool:
        """Return that an anchor's cells are neighbours: each has its slices of the map."""
        return False

    def rows(self, graph: GraphBuilder) -> str:
        """Append the heads as rows (B, N, 5 + labels): stride by stride, anchor by anchor."""
        count = self.anchors.shape[1]
        end = _ROW * count + self.labels
        rows = []
        for name in self.outputs.values():
            flat = graph.reshape(name, (0, -1, end))
            labels = graph.slice(flat, 2, _ROW * count, end)
            for anchor in range(count):
                box = graph.slice(flat, 2, _BOX * anchor, _BOX * anchor + _BOX)
                heard = graph.slice(flat, 2, _BOX * count + anchor, _BOX * count + anchor + 1)
                rows.append(graph.op("Concat", box, heard, labels, axis=2))
        return graph.op("Concat", *rows, axis=1)

    def columns(self, values: list[npt.NDArray[np.float32]]) -> npt.NDArray[np.float32]:
        """Return one frame's rows (N, 5 + labels), in any order, of the outputs' values."""
        count = self.anchors.shape[1]
        boxes, heard, labels = (
            np.concatenate([part.reshape(-1, part.shape[-1]) for part in parts])
            for parts in zip(*(_parts(value[0], count) for value in values), strict=True)
        )
        return np.hstack(
            [boxes.reshape(-1, _BOX), heard.reshape(-1, 1), np.repeat(labels, count, axis=0)]
        )


class YoloFastestV2(Yolov5Raw):
    """See the module."""

    name = "yolo-fastestv2"
    models = "YOLO-FastestV2: (1, h, w, 5 * A + labels) at strides 16 and 32, with --anchors"
    preprocessing = Preprocessing(letterbox="stretch", colours="BGR", scale=1 / 255)
    iou = 0.4

    def recognise(self, network: Network) -> Recognised | str:
        """Take two such maps, on noise sigmoids and then shares that add up to 1."""
        heads = self.heads(network)
        if isinstance(heads, str):
            return heads
        count = heads.anchors.shape[1]
        evidence = (
            f"its outputs are maps at strides 16 and 32: {count} anchors, {heads.labels} labels",
            "on noise all is within 0..1, and the labels add up to 1",
            f"anchors {heads.anchors.reshape(-1).tolist()} (else: --anchors)",
        )
        return Recognised(heads.labels, evidence)

    def heads(self, network: Network) -> Heads | str:
        """Return the maps, or in a few words why they are none."""
        by_stride = maps_strides(network.size_wh, network.outputs, axes=(1, 2)) or {}
        widths = {shape[-1] for shape in network.outputs.values() if len(shape) == _RANK}
        if tuple(by_stride) != (16, 32) or len(widths) != 1:
            return f"outputs {network.outputs}, expected (1, h, w, 5 * A + labels) at 16 and 32"
        anchors = given_anchors(network, len(by_stride))
        count = _USUAL if isinstance(anchors, str) else anchors.shape[1]
        labels = int(widths.pop()) - _ROW * count
        values = values_of(network, list(by_stride.values()), self.preprocessing)
        if labels < 1 or not all(_are_shares(value[0], count) for value in values):
            return f"on noise its outputs are no shares of {count} anchors and labels"
        if isinstance(anchors, str):
            return Close(NO_ANCHORS)
        return _Shared(by_stride, labels, anchors, last=True, split=False)


def _parts(value: npt.NDArray[np.float32], anchors: int) -> list[npt.NDArray[np.float32]]:
    """Split (h, w, 5 * A + labels) into boxes, objectness and labels."""
    return np.split(value, [_BOX * anchors, _ROW * anchors], axis=-1)


def _are_shares(value: npt.NDArray[np.float32], anchors: int) -> bool:
    *_, labels = _parts(value, anchors)
    return are_shares(value) and bool(np.allclose(labels.sum(-1), 1, atol=_SUM))
