"""YOLO-NAS as super-gradients exports it: boxes (B, N, 4), then scores (B, N, labels).

Its distances are distributions over bins that a convolution takes the expectation of. Trained on
0..1 with the colours swapped half of the time, letterboxed on grey 114: `predict` centres, and
feeds RGB. With `preprocessing=True`, its default, the export takes bytes and normalises by itself.
Its NMS, and the choice of the best before it, are cut off (`engines.reading.embedded_nms`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.families.boxes_and_scores import BoxesAndScores, projected_by
from engines.families.built_in import takes_bytes
from engines.families.evidence import are_corners_on_grid
from engines.families.family import Preprocessing
from engines.families.grid import strides_of
from engines.families.probe import values_of

if TYPE_CHECKING:
    from engines.families.boxes_and_scores import Pair
    from engines.reading.model import Network

_ROWS = 2


class YoloNas(BoxesAndScores):
    """See the module."""

    name = "yolo-nas"
    models = "YOLO-NAS without preprocessing: boxes (1, N, 4) and scores (1, N, labels)"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = 0.7
    _bytes = False

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if takes_bytes(network) != self._bytes:
            return f"its image is {'uint8' if takes_bytes(network) else 'float'}"
        if pair.axis != _ROWS:
            return f"{pair}, expected scores (1, {pair.count}, {pair.labels})"
        if projected_by(network, pair) != "Conv":
            return "no convolution makes its boxes' distances of distributions"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:
        strides = strides_of(network.size_wh, pair.count)
        if strides is not None:
            boxes = values_of(network, [pair.boxes], self.preprocessing)[0][0, :, :4]
            if are_corners_on_grid(boxes, network.size_wh, strides):
                return ()
        return ("its boxes do not lie at their cells, smallest stride first",)


class YoloNasBytes(YoloNas):
    """As it is exported by default: the graph takes RGB in 0..255."""

    name = "yolo-nas-uint8"
    models = "YOLO-NAS as exported by default, from uint8: boxes (1, N, 4), scores (1, N, labels)"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB")
    _bytes = True
