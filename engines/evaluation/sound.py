"""Is the trained model itself sound: numbers, and detections among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np
import onnx

from engines.errors import DetectsNothing
from engines.evaluation.accuracy import THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detector.runtime import RawDetections
    from edge.frame import Image
    from engines.inspection import Adapted

_LOWER = (0.1, 0.05, 0.01)
"""Scores below the threshold at which detections are counted too, to tell unsure from dead."""
_NOT_NUMBERS = ("NaN", "infinity")


def refuse_not_numbers(adapted: Adapted, frames: Sequence[Image], raw: RawDetections) -> None:
    """Raise `DetectsNothing` where an output is NaN or infinite; name the tensor it begins in."""
    scores, boxes = np.isfinite(raw.scores), np.isfinite(raw.boxes)
    bad = np.logical_not(scores.all(axis=1) & boxes.all(axis=(1, 2)))
    if not bad.any():
        return
    raise DetectsNothing(
        f"model {adapted.order.model} gives no numbers on {int(bad.sum())} of {len(bad)} images: "
        f"{_where(adapted.graph, frames[int(bad.argmax())])}",
        "its weights or its normalisation are broken: export the trained float32 model again",
    )


def refuse_blind(adapted: Adapted, raw: RawDetections) -> NoReturn:
    """Raise `DetectsNothing`: say what was looked at, and how far off it is."""
    best = float(raw.scores.max())
    lower = ", ".join(f"{int((raw.scores >= score).sum())} of {score:g}" for score in _LOWER)
    model, count = adapted.order.model, len(raw.scores)
    if best == 0:
        raise DetectsNothing(
            f"model {model} detects nothing: every score is 0 on all {count} images",
            "the file is broken (a quantiser that put boxes and scores under one scale does this) "
            "or these images show nothing it knows: export the trained float32 model again, or "
            "give images like those it was trained on",
        )
    raise DetectsNothing(
        f"model {model} detects nothing above {THRESHOLD} on any of {count} images: the best score "
        f"is {best:.3g} (scores of at least: {lower})",
        "give images that show what it was trained on, and check with --explain that it is fed as "
        "it was trained",
    )


def _where(graph: onnx.ModelProto, frame: Image) -> str:
    """Return which tensor holds the first NaN, or else the first infinity, in words."""
    import onnxruntime

    shown = onnx.ModelProto()
    shown.CopyFrom(graph)
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.graph.value_info}
    made = [
        (name, node.op_type)
        for node in graph.graph.node
        for name in node.output
        if kinds.get(name) == onnx.TensorProto.FLOAT
    ]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name, _ in made)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = session.run([name for name, _ in made], {"frames": frame[np.newaxis]})
    for kind, test in zip(_NOT_NUMBERS, (np.isnan, np.isinf), strict=True):
        for (name, op), value in zip(made, values, strict=True):
            if test(value).any():
                return f"{kind} first appears in tensor {name!r}, made by {op}"
    return "its boxes or scores are NaN or infinite"
