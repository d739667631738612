"""YOLOv3 and YOLOX of PaddleDetection, by Paddle2ONNX: boxes and scores (B, labels, N), then NMS.

They are not those that the other families of their name are: YOLOv3 and PP-YOLO have three anchors
a cell and are fed ImageNet's normalisation without bars; YOLOX scores by the root of objectness and
label, and is fed RGB in 0..255, letterboxed to the top left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.families.boxes_and_scores import BoxesAndScores, projected_by
from engines.families.family import IMAGENET_STRETCHED, Preprocessing
from engines.families.grid import strides_of
from engines.families.pp_yoloe import takes_scale
from engines.graph import tail_operators

if TYPE_CHECKING:
    from engines.families.boxes_and_scores import Pair
    from engines.reading.model import Network

_COLUMNS = 1
_ANCHORS = 3


class PaddleYolov3(BoxesAndScores):
    """See the module."""

    name = "yolov3-paddle"
    models = "PaddleDetection's YOLOv3 and PP-YOLO with NMS: boxes (1, N, 4), scores (1, labels, N)"
    preprocessing = IMAGENET_STRETCHED
    iou = 0.45
    _per_cell = _ANCHORS

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if not takes_scale(network):
            return "it does not ask for scale_factor, as PaddleDetection's models"
        count, rest = divmod(pair.count, self._per_cell)
        if pair.axis != _COLUMNS or rest or strides_of(network.size_wh, count) is None:
            return f"{pair}, expected {self._per_cell} candidates in each cell"
        if projected_by(network, pair) is not None:
            return "its boxes' distances are made of distributions"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002
        return ()


class PaddleYolox(PaddleYolov3):
    """YOLOX has one candidate a cell."""

    name = "yolox-paddle"
    models = "PaddleDetection's YOLOX with NMS: boxes (1, N, 4) and scores (1, labels, N)"
    preprocessing = Preprocessing(letterbox="top-left", colours="RGB")
    iou = 0.65
    _per_cell = 1

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        reason = super()._why_not(network, pair)
        if reason is None and "Sqrt" not in tail_operators(network.model.graph, pair.scores):
            return "its scores are no roots of objectness and label"
        return reason
