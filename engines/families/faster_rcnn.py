"""torchvision's Faster R-CNN, from its state_dict: see `engines.faster_rcnn`.

Each proposal under each label is a candidate, with a box of its own. Trained on RGB, normalised,
resized to fit and padded at the right and the bottom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.families.detr import Detr
from engines.families.family import Candidates, Family, Preprocessing, Recognised
from engines.faster_rcnn.boxes import decode
from engines.faster_rcnn.export import OUTPUTS, PRODUCER

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_WEIGHTS = (10.0, 5.0)


class FasterRcnn(Family):
    """See the module."""

    name = "faster-rcnn"
    models = "torchvision Faster R-CNN, ResNet or MobileNetV3-large with FPN: a state_dict .pth"
    preprocessing = Preprocessing(
        letterbox="top-left",
        colours="RGB",
        scale=1 / 255,
        mean=Detr.preprocessing.mean,
        std=Detr.preprocessing.std,
    )
    iou = 0.5

    def recognise(self, network: Network) -> Recognised | str:
        """Take what `engines.faster_rcnn` has written."""
        if network.source.model.producer_name != PRODUCER or set(network.outputs) != set(OUTPUTS):
            return "it is not the state_dict of a torchvision Faster R-CNN"
        _, count, classes = (int(n) for n in _shape(network, "class_logits"))
        evidence = (
            "its weights have the names of torchvision's Faster R-CNN with a feature pyramid",
            f"{count} proposals of {classes - 1} labels and a background (else: --proposals)",
        )
        return Recognised(classes - 1, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every pair of a proposal and a label, the background left out."""
        _, count, classes = (int(n) for n in _shape(network, "class_logits"))
        labels = classes - 1
        shares = graph.slice(graph.op("Softmax", "class_logits", axis=2), 2, 1, classes)
        real = graph.op("Cast", graph.op("Greater", "objectness", graph.constant(0.0)), to=1)
        pairs = graph.op("Mul", shares, graph.unsqueeze(real, 2))
        per_proposal = graph.constant(labels, np.int64)

        def proposal(index: str) -> str:
            return graph.op("Div", index, per_proposal)

        def label(index: str) -> str:
            return graph.op("Sub", index, graph.op("Mul", proposal(index), per_proposal))

        def boxes(index: str) -> str:
            # Deltas have a row for the background too, the first of each proposal.
            skipped = graph.op("Add", proposal(index), graph.constant(1, np.int64))
            row = graph.op("Add", index, skipped)
            deltas = graph.gather_rows("box_deltas", row)
            base = graph.gather_rows("proposals", proposal(index))
            return decode(graph, base, deltas, _WEIGHTS, network.size_wh)

        return Candidates(count * labels, graph.reshape(pairs, (0, count * labels)), boxes, label)


def _shape(network: Network, output: str) -> tuple[int | str, ...]:
    return (1, *network.outputs[output][1:])
