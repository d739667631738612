"""Write a checkpoint's network as an ONNX graph for one input size."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.faster_rcnn import checkpoint
from engines.faster_rcnn.backbone import features
from engines.faster_rcnn.layers import Layers
from engines.faster_rcnn.proposals import PROPOSALS, proposals
from engines.faster_rcnn.pyramid import pyramid
from engines.faster_rcnn.regions import regions
from engines.graph import GraphBuilder

if TYPE_CHECKING:
    from pathlib import Path

IMAGE = "image"
OUTPUTS = ("proposals", "objectness", "class_logits", "box_deltas")
PRODUCER = "aisle-edge faster-rcnn"
_OPSET, _IR_VERSION = 17, 8
_MULTIPLE = 32
_NEEDED = (
    "backbone.fpn.", "rpn.head.cls_logits.weight", "rpn.head.bbox_pred.weight",
    "roi_heads.box_predictor.cls_score.weight", "roi_heads.box_predictor.bbox_pred.weight",
)  # fmt: skip
_UNREAD = ("num_batches_tracked",)


def from_checkpoint(
    path: Path, size_wh: tuple[int, int] | None, most: int | None = None
) -> tuple[onnx.ModelProto, str]:
    """Return the network of a checkpoint at an input size, and the file's SHA-256.

    It keeps at most `most` proposals, without it torchvision's default.

    Raises `ModelError` where it is no Faster R-CNN of torchvision, or the size is not given.
    """
    weights = checkpoint.read(path)
    missing = [part for part in _NEEDED if not any(str(name).startswith(part) for name in weights)]
    if missing:
        raise ModelError(
            f"model {path}: expected a Faster R-CNN of torchvision with a feature pyramid, found "
            f"no {', '.join(missing)}",
            "of other models give their ONNX export",
        )
    if size_wh is None or size_wh[0] % _MULTIPLE or size_wh[1] % _MULTIPLE:
        asked = "no --size" if size_wh is None else f"{size_wh[0]}x{size_wh[1]}"
        raise ModelError(
            f"model {path}: a checkpoint does not say its input size; expected a --size of "
            f"multiples of {_MULTIPLE}, found {asked}",
            "give --size WxH near what it was trained on: torchvision's default is 800 to 1333",
        )
    made = network(weights, size_wh, path, most or PROPOSALS)
    return made, hashlib.sha256(path.read_bytes()).hexdigest()


def network(
    weights: checkpoint.Weights, size_wh: tuple[int, int], path: Path, most: int = PROPOSALS
) -> onnx.ModelProto:
    """Write the graph: `IMAGE`, normalised RGB (1, 3, H, W), in; `OUTPUTS` out.

    Proposals (1, P, 4) xyxy in pixels, their objectness (1, P), 0 for none, class logits
    (1, P, 1 + labels) and box deltas (1, P * (1 + labels), 4).
    """
    width, height = size_wh
    image = helper.make_tensor_value_info(IMAGE, TensorProto.FLOAT, [1, 3, height, width])
    model = helper.make_model(
        helper.make_graph([], "faster_rcnn", [image], []),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR_VERSION,
        producer_name=PRODUCER,
    )
    layers = Layers(GraphBuilder(model, "net/"), weights)
    outputs = _write(layers, size_wh, path, most)
    for name, (tensor, shape) in zip(OUTPUTS, outputs, strict=True):
        layers.graph.publish(tensor, name)
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
    unread = [n for n in weights if n not in layers.read and not n.endswith(_UNREAD)]
    if unread:
        raise ModelError(
            f"model {path}: of its weights {len(unread)} belong to no layer known here, as "
            f"{unread[0]}",
            "it is a variant that is not supported; those of ResNet and MobileNetV3-large are",
        )
    return model


def _write(
    layers: Layers, size_wh: tuple[int, int], path: Path, most: int
) -> tuple[tuple[str, list[int]], ...]:
    found = features(layers, IMAGE)
    if found is None:
        raise ModelError(
            f"model {path}: its backbone is neither a ResNet nor MobileNetV3-large",
            "give a checkpoint of one of these, with torchvision's names",
        )
    strides = [4, 8, 16, 32] if len(found) == 4 else [32] * len(found)  # noqa: PLR2004
    sizes = [(size_wh[1] // stride, size_wh[0] // stride) for stride in strides]
    maps = pyramid(layers, found, sizes)
    coarsest = tuple(-(-side // 2) for side in sizes[-1])
    boxes, objectness, count = proposals(
        layers, maps, [*sizes, (coarsest[0], coarsest[1])], size_wh, most
    )
    logits, deltas, classes = regions(layers, list(zip(maps, strides, strict=False)), boxes, count)
    return (
        (boxes, [1, count, 4]),
        (objectness, [1, count]),
        (logits, [1, count, classes]),
        (deltas, [1, count * classes, 4]),
    )
