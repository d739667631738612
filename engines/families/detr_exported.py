"""The DETR lineage, exported with its post-processing: RT-DETR, D-FINE, DEIM.

Inputs `images` and `orig_target_sizes`, which is set to the network's own size (see
`engines.reading`); outputs labels (B, K), boxes (B, K, 4) xyxy in pixels and scores (B, K), the
best K pairs of a query and a label after a sigmoid. Trained on RGB in 0..1, resized without bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx

from engines.families.detr import Detr, RtDetr, has_patches
from engines.families.family import Candidates, Close, Family, Recognised
from engines.graph import constants, producers, shape_of
from engines.reading.image_input import TARGET_SIZES

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_OUTPUTS = ("labels", "boxes", "scores")
_TO_PAIRS = {"Flatten", "Reshape", "Sigmoid", "Identity"}
_RANK = 3


class DetrExported(Family):
    """See the module."""

    name = "detr-exported"
    models = f"RT-DETR, D-FINE, DEIM with {TARGET_SIZES}: labels, boxes, scores"
    preprocessing = RtDetr.preprocessing
    iou = None

    def recognise(self, network: Network) -> Recognised | str:
        """Take its three outputs, where the scores are the best of (1, Q, labels)."""
        exported = network.source.model.graph
        inputs = [value.name for value in exported.input if value.name not in constants(exported)]
        if TARGET_SIZES not in inputs:
            return f"inputs {inputs}, expected an image and {TARGET_SIZES}"
        if set(network.outputs) != set(_OUTPUTS):
            return Close(
                f"it takes {TARGET_SIZES}, but its outputs are called "
                f"{', '.join(network.outputs)}, expected {', '.join(_OUTPUTS)}"
            )
        labels = _label_count(network)
        if labels is None:
            return Close("its scores are not the best of a sigmoid (1, Q, labels)")
        if not isinstance(network.outputs["scores"][1], int):
            return Close(f"its number of detections is open: outputs {network.outputs}")
        evidence = (
            f"it takes {TARGET_SIZES}, and gives {', '.join(_OUTPUTS)}",
            f"its scores are the best {network.outputs['scores'][1]} of queries x {labels} labels",
        )
        return self._sure(network, Recognised(labels, evidence))

    def _sure(self, network: Network, found: Recognised) -> Recognised | str:
        if has_patches(network):
            return "its backbone is a vision transformer, which is fed normalised"
        return found

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take its detections as they are: its boxes already are in the network's pixels."""

        def decode(index: str) -> str:
            return graph.gather_rows("boxes", index)

        def label(index: str) -> str:
            return graph.op("GatherElements", "labels", index, axis=1)

        return Candidates(int(network.outputs["scores"][1]), "scores", decode, label)


class DetrExportedNormalised(DetrExported):
    """The same on a vision transformer, as DEIMv2's larger models are."""

    name = "detr-exported-vit"
    models = f"DEIMv2 on a vision transformer with {TARGET_SIZES}: labels, boxes, scores"
    preprocessing = Detr.preprocessing

    def _sure(self, network: Network, found: Recognised) -> Recognised | str:
        return found if has_patches(network) else "its backbone is no vision transformer"


def _label_count(network: Network) -> int | None:
    """Return the last axis of what the scores are the best of."""
    inferred = onnx.shape_inference.infer_shapes(network.model, data_prop=True).graph
    shapes = {value.name: shape_of(value) for value in inferred.value_info}
    made_by = producers(network.model.graph)
    node = made_by.get("scores")
    if node is None or node.op_type != "TopK":
        return None
    while node is not None and node.op_type in {"TopK", *_TO_PAIRS}:
        shape = shapes.get(node.input[0], ())
        if len(shape) == _RANK and isinstance(shape[2], int):
            return shape[2]
        node = made_by.get(node.input[0])
    return None
