"""RTMDet and other dense detectors of MMDetection, as MMDeploy exports them, and MMYOLO's.

The NMS at their end is cut off; in front of it are boxes (B, N, 4), of anchors (B, N, 1, 4), and
scores (B, N, labels). They are letterboxed to the top left and normalised, RTMDet as BGR on grey
114, the others as RGB and padded with the mean; YOLOX is BGR in 0..255, SSD stretched. MMYOLO
centres, on grey 114, RGB in 0..1. But of a YOLOv8 no graph shows which: the user has to say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from engines.families.boxes_and_scores import BoxesAndScores, is_yolov8, projected_by
from engines.families.built_in import takes_bytes
from engines.families.family import IMAGENET_BGR_MEAN, IMAGENET_BGR_STD, Preprocessing
from engines.families.grid import strides_of
from engines.graph import constants, producers, tail_operators, upwards
from engines.reading.image_input import SCALE_FACTOR

if TYPE_CHECKING:
    from collections.abc import Iterable

    import onnx

    from engines.families.boxes_and_scores import Pair
    from engines.reading.model import Network

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
    of_yolov8 = False
    _doubt = (
        "whether it was fed RGB, as MMDetection's models other than RTMDet, is not in the graph; "
        "with a `caffe` backbone, as FCOS by default: --colours BGR "
        "--mean 102.9801,115.9465,122.7717 --std 1,1,1"
    )

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if takes_bytes(network):
            return "its image is uint8"
        inputs = {value.name for value in network.source.model.graph.input}
        if pair.axis != _ROWS or pair.joined is not None or SCALE_FACTOR in inputs:
            return f"{pair}, expected scores (1, {pair.count}, {pair.labels})"
        if projected_by(network, pair) == "Conv":
            return "a convolution makes its boxes' distances of distributions"
        if is_yolov8(network, pair) and not self.of_yolov8:
            return "its boxes' distances are distributions over 16 bins, as YOLOv8's"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002
        return (self._doubt,)


class MmYolo(MmDetection):
    """MMYOLO's YOLOs, fed as the originals are."""

    name = "mmyolo"
    models = "MMYOLO's YOLOv5 to v8 by its own exporter; YOLOv8s whose boxes and scores are apart"
    of_yolov8 = True
    preprocessing = Preprocessing(letterbox="centered", colours="RGB", scale=1 / 255)
    iou = 0.65
    _doubt = "whether it was fed 0..1, as MMYOLO's YOLOs, is not in the graph"

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:
        return () if is_yolov8(network, pair) else (self._doubt,)


class RtmDet(MmDetection):
    """RTMDet: its distances are numbers, not distributions."""

    name = "rtmdet"
    models = "RTMDet by MMDeploy: dets and labels"
    preprocessing = Preprocessing(
        letterbox="top-left", colours="BGR", mean=IMAGENET_BGR_MEAN, std=IMAGENET_BGR_STD
    )
    iou = 0.65
    _doubt = (
        "whether it was fed BGR, as RTMDet, is not in the graph; MMYOLO's: --letterbox centered"
    )

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        reason = super()._why_not(network, pair)
        if reason is None and projected_by(network, pair) is not None:
            return "its boxes' distances are made of distributions"
        if reason is None and _are_products(network, pair):
            return "its scores are products, of YOLOX's objectness or FCOS' centerness"
        return reason


class MmDetectionYolox(MmDetection):
    """YOLOX is fed what the original is."""

    name = "mmdetection-yolox"
    models = "MMDetection's and MMYOLO's YOLOX by their exporters: boxes, scores and labels"
    preprocessing = Preprocessing(letterbox="top-left", colours="BGR")
    iou = 0.65
    _doubt = "whether it was fed BGR in 0..255, as YOLOX, is not in the graph"

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        reason = super()._why_not(network, pair)
        one = strides_of(network.size_wh, pair.count) is not None
        if reason is None and not (one and _are_products(network, pair)):
            return "its scores are no products of objectness and label, one in each cell"
        return reason


class MmDetectionSsd(MmDetection):
    """SSD's scores are a softmax, whose last class, the background, the export leaves out."""

    name = "mmdetection-ssd"
    models = "MMDetection's SSD300, SSD512 and SSDlite by MMDeploy: dets and labels"
    preprocessing = Preprocessing(
        letterbox="stretch", colours="RGB", mean=IMAGENET_BGR_MEAN[::-1], pad=114
    )
    iou = 0.45
    heard_by = "Softmax"
    _doubt = (
        "whether it was not divided by a deviation is not in the graph; SSDlite: "
        "--std 58.395,57.12,57.375"
    )

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        reason = super()._why_not(network, pair)
        if reason is None and _starts_late(network, pair):
            return "its softmax's first class is left out: the background is MMDetection's last"
        return reason


def _are_products(network: Network, pair: Pair) -> bool:
    return "Mul" in tail_operators(network.model.graph, pair.scores)


def _starts_late(network: Network, pair: Pair) -> bool:
    """Return whether scores are sliced off behind a softmax's first class."""
    known = constants(network.model.graph)

    def into(node: onnx.NodeProto) -> Iterable[str]:
        return () if node.op_type == "Softmax" else node.input[:1]

    starts = [
        numpy_helper.to_array(known[node.input[1]])
        for node in upwards(producers(network.model.graph), pair.scores, into)
        if node.op_type == "Slice" and node.input[1] in known
    ]
    return any(np.any(start > 0) for start in starts)
