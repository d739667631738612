"""How long two graphs take, measured side by side."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.onnxruntime import OnnxRuntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

    from edge.frame import Image

_WARM_UP = 3
_ROUNDS = 20


def time_against(
    reference: onnx.ModelProto, graph: onnx.ModelProto, frames: Sequence[Image]
) -> dict[str, Any]:
    """Return median milliseconds of both graphs at one thread, and the median of their ratio.

    They take turns on the same frames, so that what disturbs one disturbs the other.
    """
    shape = (frames[0].shape[0], frames[0].shape[1], 3)
    times = np.empty((_ROUNDS + _WARM_UP, 2))
    with (
        OnnxRuntime(reference.SerializeToString(), shape, threads=1) as first,
        OnnxRuntime(graph.SerializeToString(), shape, threads=1) as second,
    ):
        for number in range(len(times)):
            batch = frames[number % len(frames)][np.newaxis]
            for column, runtime in enumerate((first, second)):
                started = time.perf_counter()
                runtime.infer(batch)
                times[number, column] = time.perf_counter() - started
    measured = times[_WARM_UP:] * 1e3
    return {
        "float_ms": round(float(np.median(measured[:, 0])), 3),
        "int8_ms": round(float(np.median(measured[:, 1])), 3),
        "int8_to_float": round(float(np.median(measured[:, 1] / measured[:, 0])), 4),
        "threads": 1,
        "cpu": _cpu(),
    }


def _cpu() -> str:
    """Return the processor's name, as Linux gives it."""
    information = Path("/proc/cpuinfo")
    for line in (
        information.read_text(encoding="utf-8").splitlines() if information.exists() else ()
    ):
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return "unknown"
