"""SSD as torchvision exports it, with its post-processing: boxes, scores and labels of open number.

How many it gives depends on the frame, which no plan can be built for. But in front of its
threshold are tensors of fixed shape: the softmax (N, 1 + labels), background first, and the decoded
boxes (N, 4) in pixels. They are taken where all that the export gives on noise is found in them.
Resizing and normalising are in the graph, which takes RGB in 0..1.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.errors import ModelError
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.graph import constants, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

KINDS = ("boxes", "scores", "labels")
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
        if outputs_of(network) is None:
            return f"outputs {network.outputs}, expected {', '.join(KINDS)} of open number"
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
                "that hold what it gives on noise: no SSD, or one whose export gives nothing on "
                "noise"
            )
        scores, boxes, (count, classes) = found
        evidence = (
            f"it gives {', '.join(KINDS)} of open number",
            f"on noise they are all among {count} boxes {boxes!r} and their softmax {scores!r}",
        )
        return Recognised(classes - 1, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the boxes and scores in front of the threshold, without the background."""
        scores, boxes, (count, classes) = self._tensors(network) or ("", "", (1, 2))
        shown = graph.slice(graph.reshape(scores, (-1, count, classes)), 2, 1, classes)
        corners = graph.reshape(boxes, (-1, count, _BOX))

        def decode(index: str) -> str:
            scale = graph.constant(np.tile(scale_of(network), 2))
            return graph.op("Mul", graph.gather_rows(corners, index), scale)

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
        outputs, scale = outputs_of(network) or KINDS, np.tile(scale_of(network), 2)
        loud = let_through(network)
        given = values_of(loud, outputs, self.preprocessing) if softmaxes else []
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
                if are_among(shares, corners.reshape(count, _BOX) * scale, given):
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


def outputs_of(network: Network) -> tuple[str, ...] | None:
    """Return the outputs that are boxes (n, 4), scores (n) and labels (n), n open; else None.

    By what they hold: their exporter names them only where it is told to.
    """
    found: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for value in network.model.graph.output:
        shape, real = shape_of(value), value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        if shape[1:] == (_BOX,) and real and isinstance(shape[0], str):
            found["boxes"].append(value.name)
        elif len(shape) == 1 and isinstance(shape[0], str):
            found["scores" if real else "labels"].append(value.name)
    known = all(len(names) == 1 for names in found.values())
    return tuple(found[kind][0] for kind in KINDS) if known else None


def resized(network: Network) -> tuple[int, int]:
    """Return the (width, height) that the graph itself resizes its image to."""
    inferred = onnx.shape_inference.infer_shapes(network.model, data_prop=True).graph
    shapes = {value.name: shape_of(value) for value in inferred.value_info}
    for node in network.model.graph.node:
        shape = shapes.get(node.output[0], ()) if node.op_type == "Resize" else ()
        if len(shape) == 4 and shape[1] == 3:  # noqa: PLR2004
            return int(shape[3]), int(shape[2])
    return network.size_wh


def scale_of(network: Network) -> npt.NDArray[np.float32]:
    """Return what brings x and y of the resized image back to the input."""
    scale = np.array(network.size_wh) / resized(network)
    return scale.astype(np.float32)


def let_through(network: Network) -> Network:
    """Return the network with nothing below its thresholds: on noise it gives something, too.

    A threshold is a constant that scores must be greater than.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    known = constants(model.graph)
    for node in model.graph.node:
        limit = known.get(node.input[1]) if node.op_type == "Greater" else None
        if limit is not None and not limit.dims and 0 < numpy_helper.to_array(limit) < 1:
            none = numpy_helper.from_array(-np.ones_like(numpy_helper.to_array(limit)))
            model.graph.initializer.append(none)
            model.graph.initializer[-1].name = node.input[1] = f"{node.output[0]}/none"
    return replace(network, model=model)


def are_among(
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
