"""RTMDet and other dense detectors of MMDetection, as MMDeploy exports them, and MMYOLO's.

The NMS at their end is cut off; in front of it are boxes (B, N, 4) and scores (B, N, labels). They
are letterboxed to the top left and normalised, RTMDet as BGR on grey 114, the others as RGB and
padded with the mean; MMYOLO centres, on grey 114, RGB in 0..1. No graph shows which: the user has
to say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.families.boxes_and_scores import BoxesAndScores, projected_by, takes_bytes
from engines.families.family import IMAGENET_BGR_MEAN, IMAGENET_BGR_STD, Preprocessing
from engines.image_input import SCALE_FACTOR

if TYPE_CHECKING:
    from engines.families.boxes_and_scores import Pair
    from engines.model import Network

_ROWS = 2


class MmDetection(BoxesAndScores):
    """See the module."""

    name = "mmdetection"
    models = "MMDetection's FCOS, ATSS, GFL, VFNet, RetinaNet by MMDeploy: dets and labels"
    preprocessing = Preprocessing(
        letterbox="top-left",
        colours="RGB",
        mean=IMAGENET_BGR_MEAN[::-1],
        std=IMAGENET_BGR_STD[::-1],
        pad=114,
    )
    iou = 0.6
    ordered = 0.75
    _doubt = (
        "whether it was fed RGB, as MMDetection's models other than RTMDet, is not in the graph"
    )

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if takes_bytes(network):
            return "its image is uint8"
        inputs = {value.name for value in network.source.model.graph.input}
        if pair.axis != _ROWS or pair.joined is not None or SCALE_FACTOR in inputs:
            return f"{pair}, expected scores (1, {pair.count}, {pair.labels})"
        if projected_by(network, pair) == "Conv":
            return "a convolution makes its boxes' distances of distributions"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002
        return (self._doubt,)


class MmYolo(MmDetection):
    """MMYOLO's YOLOs, fed as the originals are."""

    name = "mmyolo"
    models = "MMYOLO's YOLOv5, v6, v7 and v8 by its own exporter: boxes, scores and labels"
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = 0.65
    _doubt = "whether it was fed 0..1, as MMYOLO's YOLOs, is not in the graph"


class RtmDet(MmDetection):
    """RTMDet: its distances are numbers, not distributions."""

    name = "rtmdet"
    models = "RTMDet by MMDeploy: dets and labels"
    preprocessing = Preprocessing(
        letterbox="top-left", colours="BGR", mean=IMAGENET_BGR_MEAN, std=IMAGENET_BGR_STD
    )
    iou = 0.65
    _doubt = "whether it was fed BGR, as RTMDet, is not in the graph"

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        reason = super()._why_not(network, pair)
        if reason is None and projected_by(network, pair) is not None:
            return "its boxes' distances are made of distributions"
        return reason
