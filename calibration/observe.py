"""Run the float graph over the calibration frames and count what every tensor holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from .errors import CalibrationError
from .histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    import numpy.typing as npt

INPUT = "frames"
_AT_ONCE = 16
_STILL = 0.005
_ENOUGH = 2
_TAIL = 5e-5
_SMALLEST_SPAN = 1e-9


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> tuple[dict[str, Histogram], int]:
    """Return a histogram per tensor, every value of a frame counted, and how many frames it took.

    Frames are taken from all over the sequence until the ranges stop moving: until `_AT_ONCE` more
    change what holds all but one value in ten thousand by less than `_STILL`, on average over the
    tensors, twice in a row. One frame's activations are in memory at a time. Raises
    `CalibrationError` naming the tensor that is NaN or infinite.
    """
    histograms = {name: Histogram() for name in tensors}
    spans = np.zeros(len(tensors))
    still = used = 0
    order = _spread(len(frames))
    for index, values in zip(
        order, activations(model, tensors, (frames[i] for i in order)), strict=True
    ):
        for name, array in zip(tensors, values, strict=True):
            _count(histograms[name], array, f"tensor {name} on calibration frame {index}")
        used += 1
        done(used)
        if used % _AT_ONCE == 0:
            before, spans = spans, np.array([_span(histograms[name]) for name in tensors])
            moved = np.abs(spans - before) / np.maximum(spans, _SMALLEST_SPAN)
            still = still + 1 if moved.sum() < _STILL * len(tensors) else 0
            if still == _ENOUGH:
                done(len(frames))
                break
    return histograms, used


def _spread(count: int) -> list[int]:
    """Return 0..count-1 in an order whose every beginning is spread over all of it."""
    golden = (5**0.5 - 1) / 2
    return sorted(range(count), key=lambda i: (i * golden) % 1)


def _span(histogram: Histogram) -> float:
    """Return the width of what holds all but one value in ten thousand."""
    return histogram.quantile(1 - _TAIL) - histogram.quantile(_TAIL)


def _count(histogram: Histogram, values: npt.NDArray[np.float32], where: str) -> None:
    try:
        histogram.add(values)
    except ValueError as error:
        raise CalibrationError(
            f"{where}: {error}",
            "the float model overflows: check the export and its normalisation",
        ) from error


def activations(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    frames: Iterable[npt.NDArray[np.uint8]],
) -> Iterator[list[npt.NDArray[np.float32]]]:
    """Yield the named tensors' values, frame by frame."""
    exposed = onnx.ModelProto()
    exposed.CopyFrom(model)
    kept = {output.name: output for output in exposed.graph.output}
    del exposed.graph.output[:]
    exposed.graph.output.extend(
        kept.get(name) or onnx.ValueInfoProto(name=name) for name in tensors
    )
    session = open_session(exposed)
    for frame in frames:
        yield session.run(list(tensors), {INPUT: frame[np.newaxis]})


def open_session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """Open a float graph on the CPU."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
