"""YOLOv4 as pytorch-YOLOv4 exports it: decoded, in two outputs, no NMS.

`boxes` (B, N, 1, 4), corners xyxy in 0..1, and `confs` (B, N, labels), objectness times label.
Trained on RGB in 0..1, resized without bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.families.evidence import are_shares
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX = 4
_REACH = 2.0
_ORDERED = 0.9


class Yolov4Decoded(Family):
    """See the module."""

    name = "yolov4-decoded"
    models = "pytorch-YOLOv4: boxes (1, N, 1, 4) and confs (1, N, labels), no NMS"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    iou = 0.6

    def recognise(self, network: Network) -> Recognised | str:
        """Take two outputs of these shapes that hold corners in 0..1, and scores."""
        found = _outputs(network)
        if found is None:
            return f"outputs {network.outputs}, expected (1, N, 1, 4) and (1, N, labels)"
        corners, scores = values_of(network, found, self.preprocessing)
        ordered = (corners[..., 2:] >= corners[..., :2]).mean()
        if ordered < _ORDERED or abs(corners).mean() > _REACH or not are_shares(scores):
            return Close("on noise its outputs hold no corners in 0..1 and scores")
        return Recognised(
            scores.shape[2],
            (
                f"output {found[0]!r} is (1, {scores.shape[1]}, 1, 4), corners in 0..1",
                f"output {found[1]!r} is (1, {scores.shape[1]}, {scores.shape[2]}), scores",
            ),
        )

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Bring the corners of the best to pixels."""
        boxes, scores = self.accepted(network, _outputs(network) or "its outputs are others")
        flat = graph.squeeze(boxes, 2)

        def decode(index: str) -> str:
            chosen = graph.gather_rows(flat, index)
            return graph.op("Mul", chosen, graph.constant(network.size_wh * 2))

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(scores, index), axis=2, keepdims=0)

        count = int(network.outputs[scores][1])
        return Candidates(count, graph.reduce_max(scores, 2), decode, label)


def _outputs(network: Network) -> tuple[str, str] | None:
    """Return the names of boxes and scores where the outputs have their shapes."""
    by_rank = {len(shape): name for name, shape in network.outputs.items()}
    if len(network.outputs) != 2 or by_rank.keys() != {3, 4}:  # noqa: PLR2004
        return None
    boxes, scores = network.outputs[by_rank[4]], network.outputs[by_rank[3]]
    same = isinstance(boxes[1], int) and boxes[1] == scores[1] and isinstance(scores[2], int)
    return (by_rank[4], by_rank[3]) if same and boxes[2:] == (1, _BOX) else None
