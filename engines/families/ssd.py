"""SSD as its PyTorch line exports it: every prior's scores and decoded box, no NMS.

Two outputs: `scores` (B, N, 1 + labels), a softmax whose first class is the background, and `boxes`
(B, N, 4), corners xyxy in 0..1. Trained on RGB, (pixel - 127) / 128, resized without bars: so are
pytorch-ssd's models, the face detectors made with it, and jetson-inference's.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from engines.families.evidence import why_not_shares_of_the_picture
from engines.families.family import Candidates, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.graph import producers

if TYPE_CHECKING:
    import onnx

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX = 4
_MOVES = {"Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Concat", "Identity"}


class Ssd(Family):
    """See the module."""

    name = "ssd"
    models = "SSD with `scores` (1, N, 1 + labels) and decoded `boxes` (1, N, 4), no NMS"
    preprocessing = Preprocessing(
        letterbox="stretch", colours="RGB", mean=(127, 127, 127), std=(128, 128, 128)
    )

    def recognise(self, network: Network) -> Recognised | str:
        """Take a softmax and as many boxes, which on noise are ordered corners around 0..1."""
        found = _outputs(network) if len(network.outputs) == 2 else None  # noqa: PLR2004
        if found is None:
            return f"outputs {network.outputs}, expected a softmax (1, N, 1 + labels) and (1, N, 4)"
        scores, boxes = found
        count, classes = (int(n) for n in network.outputs[scores][1:])
        (corners,) = values_of(network, [boxes], self.preprocessing)
        against = why_not_shares_of_the_picture(boxes, corners)
        if against is not None:
            return against
        evidence = (
            f"output {scores!r} is (1, {count}, 1 + {classes - 1}), a softmax, background first",
            f"output {boxes!r} is (1, {count}, 4), on noise ordered corners in 0..1",
        )
        named = {"scores", "boxes"} == {scores, boxes}
        doubts = () if named else ("its outputs are not called scores and boxes",)
        return Recognised(classes - 1, evidence, doubts)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Leave the background out, and bring the corners to pixels."""
        scores, boxes = _outputs(network) or ("scores", "boxes")
        count, classes = (int(n) for n in network.outputs[scores][1:])
        shown = graph.slice(scores, 2, 1, classes)

        def decode(index: str) -> str:
            chosen = graph.gather_rows(boxes, index)
            return graph.op("Mul", chosen, graph.constant(network.size_wh * 2))

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(shown, index), axis=2, keepdims=0)

        return Candidates(count, graph.reduce_max(shown, 2), decode, label)


def _outputs(network: Network) -> tuple[str, str] | None:
    """Return the names of the scores and of the boxes."""
    for boxes, scores in permutations(network.outputs, 2):
        found, other = network.outputs[boxes], network.outputs[scores]
        fits = len(found) == len(other) == 3 and found[2] == _BOX and found[1] == other[1]  # noqa: PLR2004
        countable = all(isinstance(n, int) and n > 1 for n in (*found[1:], *other[1:]))
        if fits and countable and _is_softmax(network.model, scores):
            return scores, boxes
    return None


def _is_softmax(model: onnx.ModelProto, tensor: str) -> bool:
    made_by = producers(model.graph)
    node = made_by.get(tensor)
    while node is not None and node.op_type in _MOVES:
        node = made_by.get(node.input[0])
    return node is not None and node.op_type == "Softmax"
