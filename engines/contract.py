"""The graph contract: one signature for every model, so that the run time knows no model.

    in   frames  uint8    (B, H, W, 3)  BGR letterboxed frames
    out  boxes   float32  (B, K, 4)     xyxy, pixels of the network input
    out  scores  float32  (B, K)        0..1, 0 marks an unused slot; after NMS
    out  labels  int32    (B, K)        index into the bundle's labels

Each candidate competes with its best label only, as these models' own post-processing does by
default (`multi_label=False`). Slots are in the order of the scores before NMS and are not moved:
a suppressed one scores 0 where it stands. Candidates that score less than `FLOOR` are noise and
score 0 too. A network that gives each object once by itself goes without NMS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper

from engines import nms
from engines.errors import ModelError
from engines.graph import GraphBuilder, prune, shape_of
from engines.native import NATIVE
from engines.reading.batch import SYMBOL

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy.typing as npt

    from engines.families.family import Candidates, Family, Preprocessing
    from engines.reading.model import Network

FRAMES = "frames"
SLOTS = 1024
"""K at most: the candidates that enter NMS, and the most objects in one frame.

An object on a shelf has 5 to 10 of them, so 300 lost 11 % of what a trained YOLO finds at a
threshold of 0.25 down a row of racks, and 1,024 nothing: see docs/families.md.
"""
_FEWEST = 300
_SHARE = 8
"""With NMS one in so many candidates is kept beside these: a small input shows fewer objects."""
FLOOR = 0.001
"""Scores below this are noise."""

_OUTPUTS = {
    "boxes": (TensorProto.FLOAT, 3),
    "scores": (TensorProto.FLOAT, 2),
    "labels": (TensorProto.INT32, 2),
}


def adapt(
    network: Network, family: Family, iou: float | None, *, across_labels: bool = False
) -> onnx.ModelProto:
    """Return the network as a contract graph, float32 inside; `ModelError` if it cannot be one.

    Boxes of one label that overlap by more than `iou` are one object, `across_labels` boxes of
    any; None: each is its own.
    """
    model = onnx.ModelProto()
    model.CopyFrom(network.model)
    batch = SYMBOL if network.batched else 1
    _prelude(model, network, family.preprocessing, batch)
    graph = GraphBuilder(model)
    candidates = family.adapt(network, graph)
    slots = slots_for(candidates.count, suppressing=iou is not None)
    _postlude(graph, candidates, slots, iou, across_labels=across_labels)
    _declare(model, batch, slots)
    prune(model.graph)
    model.graph.name = "contract"
    model.producer_name, model.producer_version = "aisle-edge", ""
    model = _sorted(model)
    try:
        model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(
            f"model {network.source.path}: its shapes contradict each other: "
            f"{str(error).splitlines()[0]}",
            "check --size and --family, or export the model again",
        ) from error
    check(model, network.source.quantised)
    return model


def check(model: onnx.ModelProto, quantised: Collection[str] = ()) -> None:
    """Raise `ModelError` unless the model is a contract graph of natively supported operators.

    The integer operators `quantised` are let through: that graph is looked at, never shipped.
    """
    known = NATIVE.union(quantised)
    foreign = sorted({n.op_type for n in model.graph.node if n.op_type not in known or n.domain})
    if foreign:
        raise ModelError(
            f"operators {', '.join(foreign)}: expected only what ONNX Runtime and TensorRT 8.6-11 "
            "have without plugins",
            "export the model with other settings, without embedded post-processing",
        )
    inputs = {v.name: (v.type.tensor_type.elem_type, shape_of(v)) for v in model.graph.input}
    kind, shape = inputs.get(FRAMES, (0, ()))
    outputs = {v.name: (v.type.tensor_type.elem_type, len(shape_of(v))) for v in model.graph.output}
    if len(inputs) != 1 or kind != TensorProto.UINT8 or shape[3:] != (3,) or outputs != _OUTPUTS:
        raise ModelError(f"not a contract graph: inputs {inputs}, outputs {outputs}")


def slots_for(count: int, *, suppressing: bool) -> int:
    """Return K of a network with so many candidates; fewer where NMS would take long for little."""
    wanted = _FEWEST + count // _SHARE if suppressing else SLOTS
    return min(wanted, SLOTS, count)


def slots_of(model: onnx.ModelProto) -> int:
    """Return K of a contract graph: the most objects it reports in one frame."""
    return next(int(shape_of(v)[1]) for v in model.graph.output if v.name == "scores")


def _prelude(
    model: onnx.ModelProto, network: Network, fed: Preprocessing, batch: str | int
) -> None:
    """Put in front what turns BGR frames into what the network was trained on."""
    graph = GraphBuilder(model, "prelude/")
    image = graph.vacate(FRAMES) if network.image == FRAMES else network.image
    trained = list(model.graph.node)
    del model.graph.node[:]
    # The cast comes first: TensorRT takes uint8 as an input, and can do nothing else with it.
    pixels = graph.op("Transpose", graph.op("Cast", FRAMES, to=1), perm=[0, 3, 1, 2])
    if fed.colours == "RGB":
        pixels = graph.op("Gather", pixels, graph.constant([2, 1, 0], np.int64), axis=1)
    # (pixel * scale - mean) / std is one factor and one offset per channel.
    factor = np.float64(fed.scale) / np.array(fed.std)
    offset = np.array(fed.mean) / np.array(fed.std)
    if (factor != 1).any():
        pixels = graph.op("Mul", pixels, graph.constant(_per_channel(factor)))
    if offset.any():
        pixels = graph.op("Sub", pixels, graph.constant(_per_channel(offset)))
    model.graph.node[-1].output[0] = image
    model.graph.node.extend(trained)
    height, width = network.size_wh[1], network.size_wh[0]
    del model.graph.input[:]
    model.graph.input.append(
        helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, [batch, height, width, 3])
    )


def _per_channel(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return three values for (B, 3, H, W), or one where they are the same."""
    return values[0] if (values == values[0]).all() else values.reshape(1, 3, 1, 1)


def _postlude(
    graph: GraphBuilder,
    candidates: Candidates,
    slots: int,
    iou: float | None,
    *,
    across_labels: bool,
) -> None:
    """Keep the best K candidates, decode these, and suppress the double ones if there can be."""
    best, index = graph.ops(
        "TopK", 2, candidates.score, graph.constant([slots], np.int64), axis=1, largest=1, sorted=1
    )
    boxes = candidates.boxes(index)
    labels = graph.op("Cast", candidates.labels(index), to=TensorProto.INT32)
    heard = graph.op("Less", best, graph.constant(FLOOR))
    scores = graph.op("Where", heard, graph.constant(0.0), best)
    graph.publish(boxes, "boxes")
    graph.publish(labels, "labels")
    if iou is not None:
        competing = None if across_labels else "labels"
        scores = nms.suppress(graph, "boxes", scores, competing, slots, iou)
    graph.publish(scores, "scores")


def _declare(model: onnx.ModelProto, batch: str | int, slots: int) -> None:
    del model.graph.output[:]
    for name, (kind, rank) in _OUTPUTS.items():
        shape = [batch, slots, 4][:rank]
        model.graph.output.append(helper.make_tensor_value_info(name, kind, shape))


def _sorted(model: onnx.ModelProto) -> onnx.ModelProto:
    weights = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    return model
