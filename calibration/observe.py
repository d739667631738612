"""Run the float graph over the calibration frames and count what every tensor holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from .errors import CalibrationError
from .histogram import Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

INPUT = "frames"


def observe(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, Histogram]:
    """Return a histogram per tensor over all frames, every value of every frame counted.

    One frame's activations are in memory at a time. Raises `CalibrationError` naming the tensor
    that is NaN or infinite.
    """
    histograms = {name: Histogram() for name in tensors}
    for index, values in enumerate(activations(model, tensors, frames)):
        for name, array in zip(tensors, values, strict=True):
            _count(histograms[name], array, f"tensor {name} on calibration frame {index}")
        done(index + 1)
    return histograms


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
    frames: Sequence[npt.NDArray[np.uint8]],
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
