"""How long two graphs take, measured side by side, and how long their convolutions."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx

from edge.detector.onnxruntime import OnnxRuntime

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.frame import Image

_WARM_UP = 3
_ROUNDS = 20
_PROFILED = 12
_KERNEL = re.compile(r"(?:_nchwc)?(?:_token_\d+)?_kernel_time$")
"""What ONNX Runtime puts behind a node's name in a profile, fused nodes' included."""


def time_against(
    reference: onnx.ModelProto, graph: onnx.ModelProto, frames: Sequence[Image]
) -> dict[str, Any]:
    """Return both graphs' fastest milliseconds at one thread, and the median of their ratio.

    They take turns on the same frames, so that what disturbs one disturbs the other; what disturbs
    the machine makes no graph faster.
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
        "float_ms": round(float(measured[:, 0].min()), 3),
        "int8_ms": round(float(measured[:, 1].min()), 3),
        "int8_to_float": round(float(np.median(measured[:, 1] / measured[:, 0])), 4),
        "threads": 1,
        "cpu": _cpu(),
    }


def convolution_ms(graph: onnx.ModelProto, frames: Sequence[Image]) -> dict[str, float]:
    """Return the median milliseconds of each convolution at one thread, by its output tensor."""
    named = onnx.ModelProto()
    named.CopyFrom(graph)
    for node in named.graph.node:
        node.name = node.output[0]
    times: defaultdict[str, list[float]] = defaultdict(list)
    for event in _profile(named, frames):
        if event.get("cat") == "Node" and "Conv" in event["args"].get("op_name", ""):
            times[_KERNEL.sub("", event["name"])].append(event["dur"] / 1e3)
    return {name: float(np.median(found)) for name, found in times.items()}


def _profile(graph: onnx.ModelProto, frames: Sequence[Image]) -> list[dict[str, Any]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    with tempfile.TemporaryDirectory(prefix="aisle-edge-") as folder:
        options.profile_file_prefix = str(Path(folder) / "profile")
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for number in range(_PROFILED):
            session.run(None, {"frames": frames[number % len(frames)][np.newaxis]})
        events: list[dict[str, Any]] = json.loads(Path(session.end_profiling()).read_text("utf-8"))
    return events


def _cpu() -> str:
    """Return the processor's name, as Linux gives it."""
    information = Path("/proc/cpuinfo")
    for line in (
        information.read_text(encoding="utf-8").splitlines() if information.exists() else ()
    ):
        if line.startswith(("model name", "Model")):
            return line.partition(":")[2].strip()
    return "unknown"
