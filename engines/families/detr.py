"""The DETR lineage, exported before its post-processing: a query per object, no NMS.

Two outputs of Q queries: logits (B, Q, C) and boxes (B, Q, 4), cxcywh in 0..1. The originals turn
them into detections in two ways. DETR (arXiv 2005.12872): a softmax whose last class is "no
object", each query under its best label. Its deformable descendants: a sigmoid, and the best of all
query-label pairs, so that a query may give two objects. Which it is shows in what noise gives:
almost only "no object", or almost only logits below 0.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from engines.families.family import (
    IMAGENET_STRETCHED,
    Candidates,
    Close,
    Family,
    Preprocessing,
    Recognised,
)
from engines.families.grid import strides_of
from engines.families.probe import values_of
from engines.graph import attribute, producers

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_BOX = 4
_RANK = 3
_PATCH = 8
"""A first convolution of this stride or more cuts patches: the backbone is a vision transformer."""
_DESCENDANTS = {"GridSample", "TopK"}
"""Deformable attention, and the choice of queries; what has either ends in sigmoids."""
_XYXY_OF_CXCYWH = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]])


class _Queries(Family):
    """What the two-output members share."""

    iou = None

    def recognise(self, network: Network) -> Recognised | str:
        """Take logits and boxes of as many queries, which on noise lie in 0..1."""
        found = _outputs(network)
        if found is None:
            return f"outputs {network.outputs}, expected logits (1, Q, C) and boxes (1, Q, 4)"
        logits, boxes = found
        values, corners = values_of(network, found, self.preprocessing)
        if not in_unit(corners):
            return Close(f"output {boxes!r} holds no cxcywh in 0..1 on noise")
        if strides_of(network.size_wh, values.shape[1]) and are_corners(values):
            return Close(f"output {logits!r} holds no logits, but corners in pixels, of cells")
        _, queries, classes = values.shape
        evidence = (
            f"outputs {logits!r} (1, {queries}, {classes}) and {boxes!r} (1, {queries}, 4) are of "
            f"as many queries, and the boxes are cxcywh in 0..1"
        )
        return self._judge(values, evidence, self._doubts(network))

    def _doubts(self, network: Network) -> tuple[str, ...]:  # noqa: ARG002 - others do
        return ()

    @abstractmethod
    def _judge(
        self, logits: npt.NDArray[np.float32], evidence: str, doubts: tuple[str, ...]
    ) -> Recognised | str: ...


class Detr(_Queries):
    """A softmax with "no object" last."""

    name = "detr"
    models = "DETR, YOLOS: logits (1, Q, labels + no object) and boxes (1, Q, 4)"
    preprocessing = IMAGENET_STRETCHED

    def recognise(self, network: Network) -> Recognised | str:
        """Take such queries where they see all of the image; descendants' choose and sample."""
        found = super().recognise(network)
        descends = sorted(_DESCENDANTS & {node.op_type for node in network.model.graph.node})
        if isinstance(found, Recognised) and descends:
            return Close(f"its queries are of DETR's descendants ({', '.join(descends)}): sigmoids")
        return found

    def _judge(
        self, logits: npt.NDArray[np.float32], evidence: str, doubts: tuple[str, ...]
    ) -> Recognised | str:
        if logits.shape[-1] == 1:
            return Close("it has one class, so there is none for no object")
        last = float((logits.argmax(-1) == logits.shape[-1] - 1).mean())
        if last < 1 / 2:
            return Close(
                f"on noise only {last:.0%} of its queries prefer the last class: no object"
            )
        seen = f"on noise {last:.0%} of its queries prefer the last class: no object"
        return Recognised(logits.shape[-1] - 1, (evidence, seen), doubts)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Give each query its best label other than "no object"."""
        logits, boxes = _outputs(network) or ("", "")
        queries, classes = (int(n) for n in network.outputs[logits][1:])
        shares = graph.slice(graph.op("Softmax", logits, axis=2), 2, 0, classes - 1)
        return best_label(network, graph, (shares, boxes), queries)


class RtDetr(_Queries):
    """Sigmoids, and the convolutional encoder behind attention that RT-DETR is known by."""

    name = "rt-detr"
    models = "RT-DETR, D-FINE, DEIM: logits (1, Q, labels) and boxes (1, Q, 4)"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)

    def _judge(
        self, logits: npt.NDArray[np.float32], evidence: str, doubts: tuple[str, ...]
    ) -> Recognised | str:
        if float(np.median(logits.max(-1))) >= 0:
            return Close("on noise most of its queries have a logit above 0: no sigmoid's")
        seen = "on noise its logits are below 0: a sigmoid's, without a class for no object"
        return Recognised(logits.shape[-1], (evidence, seen), doubts)

    def _doubts(self, network: Network) -> tuple[str, ...]:
        if has_patches(network):
            return ("its backbone is a vision transformer, which is fed normalised",)
        if not has_hybrid_encoder(network):
            return ("no 3x3 convolution follows its attention; it is fed pixels in 0..1",)
        return ()

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Take the best pairs of a query and a label."""
        logits, boxes = _outputs(network) or ("", "")
        queries, classes = (int(n) for n in network.outputs[logits][1:])
        pairs = graph.reshape(graph.op("Sigmoid", logits), (0, queries * classes))

        def query(index: str) -> str:
            return graph.op("Div", index, graph.constant(classes, np.int64))

        def decode(index: str) -> str:
            return corners_of(network, graph, graph.gather_rows(boxes, query(index)))

        def label(index: str) -> str:
            first = graph.op("Mul", query(index), graph.constant(classes, np.int64))
            return graph.op("Sub", index, first)

        return Candidates(queries * classes, pairs, decode, label)


class RfDetr(RtDetr):
    """As RT-DETR, on a backbone that was trained on normalised images."""

    name = "rf-detr"
    models = "RF-DETR, Deformable DETR: as rt-detr, fed with ImageNet's mean and deviation"
    preprocessing = Detr.preprocessing

    def _doubts(self, network: Network) -> tuple[str, ...]:
        if has_patches(network):
            return ()
        if has_hybrid_encoder(network):
            return ("convolutions follow its attention, as in RT-DETR",)
        return ("its backbone is no vision transformer; it is fed normalised pixels",)


def has_patches(network: Network) -> bool:
    """Return whether the first convolution cuts the image into patches, as transformers do."""
    first = next((n for n in network.model.graph.node if n.op_type == "Conv"), None)
    strides = (
        [list(item.ints) for item in first.attribute if item.name == "strides"] if first else []
    )
    return bool(strides) and min(strides[0]) >= _PATCH


def best_label(
    network: Network, graph: GraphBuilder, parts: tuple[str, str], queries: int
) -> Candidates:
    """Take each query under its best label, of shares (B, Q, labels) and boxes (B, Q, 4)."""
    shares, boxes = parts

    def decode(index: str) -> str:
        return corners_of(network, graph, graph.gather_rows(boxes, index))

    def label(index: str) -> str:
        return graph.op("ArgMax", graph.gather_rows(shares, index), axis=2, keepdims=0)

    return Candidates(queries, graph.reduce_max(shares, 2), decode, label)


def corners_of(network: Network, graph: GraphBuilder, boxes: str) -> str:
    """Turn cxcywh in 0..1 into xyxy in pixels."""
    return graph.op("MatMul", boxes, graph.constant(_XYXY_OF_CXCYWH * (network.size_wh * 2)))


def in_unit(boxes: npt.NDArray[np.float32]) -> bool:
    """Return whether almost all boxes are centres and sides in 0..1; corners have no such sides."""
    sane = ((boxes > -1 / 2) & (boxes < 3 / 2)).all(-1) & (boxes[..., 2:] >= 0).all(-1)
    return float(sane.mean()) > 0.9  # noqa: PLR2004


def are_corners(values: npt.NDArray[np.float32]) -> bool:
    """Return whether rows are boxes xyxy, in pixels: what four labels' scores lie beside."""
    if values.shape[-1] != _BOX:
        return False
    ordered = (values[..., 2:] >= values[..., :2]).all(-1).mean()
    return bool(ordered > 0.75 and np.median(abs(values)) > 2)  # noqa: PLR2004


def _outputs(network: Network) -> tuple[str, str] | None:
    """Return the names of the logits and of the boxes; the queries may have other outputs."""
    made_by = producers(network.model.graph)
    fixed = {
        name: shape
        for name, shape in network.outputs.items()
        if len(shape) == _RANK and all(isinstance(n, int) for n in shape[1:])
    }
    for boxes, shape in fixed.items():
        if shape[2] != _BOX:
            continue
        logits = [
            name
            for name, other in fixed.items()
            if name != boxes
            and other[1] == shape[1]
            and made_by[name].op_type not in ("Softmax", "Sigmoid", "LayerNormalization")
        ]
        named = [name for name in logits if "logits" in name or name == "labels"]
        if len(logits) == 1 or len(named) == 1:
            return (named or logits)[0], boxes
    return None


def has_hybrid_encoder(network: Network) -> bool:
    """Return whether a softmax is followed by a convolution that looks around, as RT-DETR's is.

    A Swin backbone has a softmax, too; only projections, and a coarser level, follow it.
    """
    behind: set[str] = set()
    for node in network.model.graph.node:
        if behind.intersection(node.input):
            if node.op_type == "Conv" and _looks_around(node):
                return True
            behind.update(node.output)
        elif node.op_type == "Softmax":
            behind.update(node.output)
    return False


def _looks_around(convolution: onnx.NodeProto) -> bool:
    wide = max(attribute(convolution, "kernel_shape", [1])) > 1
    fine = max(attribute(convolution, "strides", [1])) == 1
    return wide and fine and bool(attribute(convolution, "group", 1) == 1)
