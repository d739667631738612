"""PP-YOLOE and PicoDet, from PaddleDetection by Paddle2ONNX: boxes and scores (B, labels, N).

Their inputs beside the image, `scale_factor` and `im_shape`, become constants, and an NMS at their
end is cut off. Distances are distributions, all are resized without bars and fed RGB. PicoDet is
known by its strides, 8 to 64; it and PP-YOLOE are normalised by ImageNet's mean and deviation,
PP-YOLOE+ is not. Which of these two it is shows only in what its first layer saw in training (see
`engines.families.stem`): where that was fused away, the user has to say it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from engines.families.boxes_and_scores import BoxesAndScores, projected_by
from engines.families.built_in import takes_bytes
from engines.families.family import IMAGENET_STRETCHED, Preprocessing, Recognised
from engines.families.grid import strides_of
from engines.families.stem import saw_normalised
from engines.reading.image_input import SCALE_FACTOR

if TYPE_CHECKING:
    from engines.families.boxes_and_scores import Pair
    from engines.reading.model import Network

_COLUMNS = 1
_PICO = (8, 16, 32, 64)


class PpYoloe(BoxesAndScores):
    """See the module."""

    name = "pp-yoloe"
    models = "PP-YOLOE: boxes (1, N, 4) and scores (1, labels, N)"
    preprocessing = IMAGENET_STRETCHED
    iou = 0.7
    _pico = False
    _normalised = True
    _range = "ImageNet's normalisation leaves them"
    _doubt = "that it was fed ImageNet's normalisation, as PP-YOLOE, is not in the graph"

    def recognise(self, network: Network) -> Recognised | str:
        """Take such boxes and scores, and say where the graph tells what its first layer saw."""
        found = super().recognise(network)
        if isinstance(found, str) or found.doubts or self._pico:
            return found
        seen = f"in training its first layer saw pixels {'as ' if self._normalised else 'in '}"
        return replace(found, evidence=(*found.evidence, seen + self._range))

    def _why_not(self, network: Network, pair: Pair) -> str | None:
        if takes_bytes(network):
            return "its image is uint8"
        if pair.axis != _COLUMNS and pair.joined is None and not takes_scale(network):
            return f"{pair}, expected scores (1, {pair.labels}, {pair.count})"
        if projected_by(network, pair) is None:
            return "its boxes' distances are not made of distributions"
        if (strides_of(network.size_wh, pair.count) == _PICO) != self._pico:
            return f"its candidates are {'not ' if self._pico else ''}those of PicoDet's strides"
        return None

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002
        return () if saw_normalised(network) is self._normalised else (self._doubt,)


class PpYoloePlus(PpYoloe):
    """PP-YOLOE+ is fed 0..1."""

    name = "pp-yoloe-plus"
    models = "PP-YOLOE+: boxes (1, N, 4) and scores (1, labels, N)"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    _normalised = False
    _range = "0..1"
    _doubt = "that it was fed 0..1, as PP-YOLOE+, is not in the graph"


class PicoDet(PpYoloe):
    """PicoDet has a stride more."""

    name = "picodet"
    models = "PicoDet: boxes (1, N, 4) and scores (1, labels, N) at the strides 8 to 64"
    iou = 0.6
    _pico = True

    def _doubts(self, network: Network, pair: Pair) -> tuple[str, ...]:  # noqa: ARG002
        return ()


def takes_scale(network: Network) -> bool:
    """Return whether the export asks for `scale_factor`, as PaddleDetection's do."""
    return SCALE_FACTOR in {value.name for value in network.source.model.graph.input}
