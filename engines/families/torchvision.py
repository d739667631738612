"""SSD as torchvision exports it, with its post-processing: boxes, scores and labels of open number.

How many it gives depends on the frame, which no plan can be built for. But in front of its
threshold are tensors of fixed shape: the softmax (N, 1 + labels), background first, and the decoded
boxes (N, 4) in pixels. They are taken where all that the export gives on noise is found in them.
Resizing and normalising are in the graph, which takes RGB in 0..1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from engines.errors import ModelError
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.graph import shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.model import Network

_OUTPUTS = ("boxes", "scores", "labels")
_BOX = 4
_SAME_PX, _SAME_SCORE = 0.01, 1e-4


class TorchvisionSsd(Family):
    """See the module."""

    name = "torchvision-ssd"
    models = "torchvision SSD and SSDlite: boxes (n, 4), scores (n) and labels (n)"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    iou = 0.45

    def recognise(self, network: Network) -> Recognised | str:
        """Take what holds all that the export gives on noise."""
        if not set(_OUTPUTS) <= set(network.outputs):
            return f"outputs {list(network.outputs)}, expected {', '.join(_OUTPUTS)}"
        if any(isinstance(n, int) for n in network.outputs["scores"]):
            return f"its number of detections is fixed: outputs {network.outputs}"
        if any(node.op_type == "RoiAlign" for node in network.model.graph.node):
            raise ModelError(
                f"model {network.source.path}: it is a two-stage detector (RoiAlign) as its own "
                "library exports it, of shapes that depend on the frame: no plan can be built",
                "save its state_dict as a .pth file, and build from that",
            )
        found = self._tensors(network)
        if found is None:
            return Close(
                "in front of its threshold is no softmax (N, 1 + labels) with decoded boxes (N, 4) "
                "that hold what it gives on noise: no SSD, but RetinaNet or FCOS, or one whose "
                "export gives nothing on noise"
            )
        scores, boxes, (count, classes) = found
        evidence = (
            f"it gives {', '.join(_OUTPUTS)} of open number",
            f"on noise they are all among {count} boxes {boxes!r} and their softmax {scores!r}",
        )
        return Recognised(classes - 1, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the boxes and scores in front of the threshold, without the background."""
        scores, boxes, (count, classes) = self._tensors(network) or ("", "", (1, 2))
        shown = graph.slice(graph.reshape(scores, (-1, count, classes)), 2, 1, classes)
        corners = graph.reshape(boxes, (-1, count, _BOX))

        def decode(index: str) -> str:
            return graph.gather_rows(corners, index)

        def label(index: str) -> str:
            return graph.op("ArgMax", graph.gather_rows(shown, index), axis=2, keepdims=0)

        return Candidates(count, graph.reduce_max(shown, 2), decode, label)

    def _tensors(self, network: Network) -> tuple[str, str, tuple[int, int]] | None:
        """Return the scores, the boxes, and (N, 1 + labels)."""
        shapes = _fixed_shapes(network.model)
        softmaxes = [
            (node.output[0], shapes[node.output[0]])
            for node in network.model.graph.node
            if node.op_type == "Softmax" and node.output[0] in shapes
        ]
        given = values_of(network, _OUTPUTS, self.preprocessing) if softmaxes else []
        for scores, shape in reversed(softmaxes):
            count, classes = shape[-2:]
            boxes = [
                name
                for name, other in shapes.items()
                if other[-2:] == (count, _BOX) and int(np.prod(other)) == count * _BOX
            ]
            values = values_of(network, [scores, *boxes], self.preprocessing)
            shares = values[0].reshape(count, classes)
            for name, corners in reversed(list(zip(boxes, values[1:], strict=True))):
                if _holds(shares, corners.reshape(count, _BOX), given):
                    return scores, name, (count, classes)
        return None


def _fixed_shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Return, in the graph's order, the float tensors of two axes or more and fixed shape."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in inferred.value_info}
    found = {}
    for node in model.graph.node:
        for name in node.output:
            if name not in known:
                continue
            kind = known[name].type.tensor_type.elem_type
            shape = shape_of(known[name])
            if kind == onnx.TensorProto.FLOAT and len(shape) > 1 and _is_fixed(shape):
                found[name] = tuple(int(n) for n in shape)
    return found


def _is_fixed(shape: tuple[int | str, ...]) -> bool:
    return all(isinstance(n, int) and n > 0 for n in shape)


def _holds(
    shares: npt.NDArray[np.float32],
    corners: npt.NDArray[np.float32],
    given: list[npt.NDArray[np.float32]],
) -> bool:
    """Return whether every detection given is one of the candidates under one of their labels."""
    for box, score, label in zip(*given, strict=True):
        near = np.abs(corners - box).max(1) < _SAME_PX
        if not (np.abs(shares[near, int(label)] - score) < _SAME_SCORE).any():
            return False
    return len(given[0]) > 0
