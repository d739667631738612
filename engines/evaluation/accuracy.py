"""What a graph detects on frames, and how that agrees with the float model."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.agreement import Agreement, agreement
from edge.detector.detector import decode
from edge.detector.letterbox import Placement
from edge.detector.onnxruntime import OnnxRuntime
from edge.detector.runtime import RawDetections

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from edge.detections import Detections
    from edge.frame import Image


def run_graph(
    graph: onnx.ModelProto, frames: Sequence[Image], told: Callable[[int, int], None]
) -> RawDetections:
    """Run a contract graph on letterboxed frames, one by one; return the G frames' outputs."""
    height, width, _ = frames[0].shape
    outputs = []
    with OnnxRuntime(graph.SerializeToString(), (height, width, 3)) as runtime:
        for number, frame in enumerate(frames):
            told(number, len(frames))
            outputs.append(runtime.infer(frame[np.newaxis]))
    return RawDetections(
        np.concatenate([raw.boxes for raw in outputs]),
        np.concatenate([raw.scores for raw in outputs]),
        np.concatenate([raw.labels for raw in outputs]),
    )


def detections(raw: RawDetections, size_wh: tuple[int, int]) -> list[Detections]:
    """Return each frame's detections, in pixels of the network input."""
    whole = Placement(size_wh, (1.0, 1.0), (0, 0), size_wh)
    return [decode(raw, index, whole, 0.0) for index in range(len(raw.scores))]


def compare(
    reference: RawDetections, found: RawDetections, size_wh: tuple[int, int], threshold: float
) -> Agreement:
    """Hold a graph's outputs to the float model's on the same frames."""
    pairs = zip(detections(reference, size_wh), detections(found, size_wh), strict=True)
    return agreement(pairs, threshold)


def for_passport(result: Agreement) -> dict[str, Any]:
    """Return an agreement as plain values, rounded to what they are good for."""
    values = {**asdict(result), "recall": result.recall, "precision": result.precision}
    return {key: round(value, 5) for key, value in values.items()}
