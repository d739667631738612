"""PP-YOLOE and PicoDet, from PaddleDetection by Paddle2ONNX: boxes and scores (B, labels, N).

Their inputs beside the image, `scale_factor` and `im_shape`, become constants, and an NMS at their
end is cut off. All are resized without bars and fed RGB; PP-YOLOE and PicoDet are normalised by
ImageNet's mean and deviation, PP-YOLOE+ not. No graph shows which: the user has to say it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.families.boxes_and_scores import BoxesAndScores, takes_bytes
from engines.families.family import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from engines.image_input import SCALE_FACTOR

if TYPE_CHECKING:
    from engines.families.boxes_and_scores import Pair
    from engines.model import Network

_COLUMNS = 1


class PpYoloe(BoxesAndScores):
    """See the module."""

    name = "pp-yoloe"
    models = "PP-YOLOE and PicoDet: boxes (1, N, 4) and scores (1, labels, N)"
    preprocessing = Preprocessing(
        letterbox="stretch",
        colours="RGB",
        scale=1 / 255,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    iou = 0.7
    _doubt = (
        "that it was fed ImageNet's normalisation, as PP-YOLOE and PicoDet, is not in the graph"
    )

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if takes_bytes(network):
            return "its image is uint8"
        inputs = {value.name for value in network.source.model.graph.input}
        if pair.axis != _COLUMNS and pair.joined is None and SCALE_FACTOR not in inputs:
            return f"{pair}, expected scores (1, {pair.labels}, {pair.count})"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002
        return (self._doubt,)


class PpYoloePlus(PpYoloe):
    """PP-YOLOE+ is fed 0..1."""

    name = "pp-yoloe-plus"
    models = "PP-YOLOE+: boxes (1, N, 4) and scores (1, labels, N)"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    _doubt = "that it was fed 0..1, as PP-YOLOE+, is not in the graph"
