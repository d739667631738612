"""A float contract graph and frames in, INT8 graphs that still detect out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import encoding_cpu, encoding_tensorrt
from .convolution import bias_of
from .errors import CalibrationError
from .fallback import NOISE_LIMIT, too_noisy, without
from .fold import fold
from .groups import groups, integer_nodes, measurable
from .local_error import LocalError, local_errors
from .observe import observe
from .prelude import Prelude, find_prelude
from .ranges import choose
from .tail import body, influence
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from .histogram import Histogram
    from .scales import Scale

    Progress = Callable[[str, int, int], None]
    """Told (what is being done, how many are done, of how many)."""

_COMPARED = 32
"""Frames on which layers are compared, spread over all."""
_REPORTED = 8


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One calibration, written in the encodings of the runtimes."""

    cpu: onnx.ModelProto
    """Unsigned asymmetric activations, a Q behind every body op: what ONNX Runtime fuses."""
    tensorrt: onnx.ModelProto | None
    """Symmetric int8 at the inputs of convolutions: what TensorRT fuses."""
    report: dict[str, Any]
    """For the passport's `calibration`: plain JSON values."""


@dataclass(frozen=True, slots=True)
class _Measured:
    """A folded float graph, what its tensors hold, and the frames to compare layers on."""

    model: onnx.ModelProto
    topology: Topology
    prelude: Prelude
    histograms: Mapping[str, Histogram]
    frames: Sequence[npt.NDArray[np.uint8]]
    tell: Progress


@dataclass(frozen=True, slots=True)
class _Encoded:
    """One encoding, and what it cost."""

    model: onnx.ModelProto
    kept_float: dict[str, float]
    """Convolutions left in float, by output, and their noise in 8 bits; the worst first."""
    errors: dict[str, LocalError]
    tensors: int

    def report(self) -> dict[str, Any]:
        """Return plain JSON values for the passport."""
        worst = sorted(self.errors.items(), key=lambda item: -item[1].noise)[:_REPORTED]
        return {
            "quantised_tensors": self.tensors,
            "noise_limit": NOISE_LIMIT,
            "kept_float": {name: round(noise, 5) for name, noise in self.kept_float.items()},
            "noisiest": {name: round(error.noise, 5) for name, error in worst},
        }


def quantise(
    contract: onnx.ModelProto,
    frames: Sequence[npt.NDArray[np.uint8]],
    *,
    progress: Progress | None = None,
) -> Calibrated:
    """Quantise a contract graph on letterboxed frames, uint8 (H, W, 3) BGR each.

    Raises `CalibrationError` for a graph or frames that cannot be calibrated.
    """
    measured = _measure(contract, frames, progress or (lambda _what, _done, _of: None))
    cpu, tensorrt = _encode_cpu(measured), _encode_tensorrt(measured)
    report = {
        "frames": len(frames),
        "ranges": "least squared error behind the activation, over a histogram of every value",
        "weights": "symmetric int8 per output channel",
        "biases": f"mean local error removed, on {len(measured.frames)} frames",
        "cpu": cpu.report(),
        "tensorrt": tensorrt.report(),
    }
    return Calibrated(cpu.model, tensorrt.model, report)


def _measure(
    contract: onnx.ModelProto, frames: Sequence[npt.NDArray[np.uint8]], tell: Progress
) -> _Measured:
    model = fold(contract)
    _check(model, frames)
    topology = Topology(model)
    prelude = find_prelude(topology)
    tensors = measurable(topology, groups(topology, integer_nodes(topology, prelude)))
    histograms = observe(
        model, tensors, frames, lambda done: tell("measuring ranges", done, len(frames))
    )
    sample = frames[:: -(-len(frames) // _COMPARED)]
    return _Measured(model, topology, prelude, histograms, sample, tell)


def _encode_cpu(measured: _Measured) -> _Encoded:
    topology = measured.topology
    nodes = integer_nodes(topology, measured.prelude)
    first = _compare(measured, nodes, _cpu_scales(measured, nodes), "comparing layers")
    noisy = too_noisy(first, influence(topology, body(topology)))
    nodes = without(topology, nodes, noisy)
    scales = _cpu_scales(measured, nodes)
    errors = _compare(measured, nodes, scales, "correcting biases")
    integer = {node.output[0] for node in nodes}
    biases = _corrected(topology, errors)
    model = encoding_cpu.encode(measured.model, topology, measured.prelude, integer, scales, biases)
    return _Encoded(model, {name: first[name].noise for name in noisy}, errors, len(scales))


def _encode_tensorrt(measured: _Measured) -> _Encoded:
    topology = measured.topology
    inner = integer_nodes(topology, measured.prelude)
    nodes = encoding_tensorrt.quantisable(topology, inner)

    def scales_of(nodes: list[onnx.NodeProto]) -> dict[str, Scale]:
        return encoding_tensorrt.scales(
            topology, measured.prelude, nodes, inner, measured.histograms
        )

    first = _compare(measured, nodes, scales_of(nodes), "comparing layers")
    noisy = too_noisy(first, influence(topology, body(topology)))
    nodes = [node for node in nodes if node.output[0] not in noisy]
    scales = scales_of(nodes)
    integer = {node.output[0] for node in nodes}
    errors = _compare(measured, nodes, scales, "correcting biases")
    errors = {name: error for name, error in errors.items() if name in integer}
    biases = _corrected(topology, errors)
    model = encoding_tensorrt.encode(measured.model, topology, integer, scales, biases)
    return _Encoded(model, {name: first[name].noise for name in noisy}, errors, len(scales))


def _cpu_scales(measured: _Measured, nodes: list[onnx.NodeProto]) -> dict[str, Scale]:
    found = groups(measured.topology, nodes)
    return choose(measured.topology, measured.prelude, found, measured.histograms)


def _compare(
    measured: _Measured, nodes: list[onnx.NodeProto], scales: Mapping[str, Scale], what: str
) -> dict[str, LocalError]:
    total = len(measured.frames)
    return local_errors(
        measured.model,
        measured.topology,
        {node.output[0] for node in nodes},
        scales,
        measured.frames,
        lambda done: measured.tell(what, done, total),
    )


def _corrected(
    topology: Topology, errors: Mapping[str, LocalError]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the biases at which no channel of a convolution is off on average."""
    return {
        name: bias_of(topology, topology.producer[name]) - error.shift
        for name, error in errors.items()
    }


def _check(model: onnx.ModelProto, frames: Sequence[npt.NDArray[np.uint8]]) -> None:
    if not frames:
        raise CalibrationError(
            "calibration frames: expected at least one, found none",
            "give images or a video of what the camera will see",
        )
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or list(frame.shape) != shape[1:]:
            raise CalibrationError(
                f"calibration frame {index}: expected uint8 {tuple(shape[1:])}, "
                f"found {frame.dtype} {frame.shape}",
                "letterbox every frame to the network's input",
            )
    if shape[0] > 1:
        raise CalibrationError(
            f"graph input {model.graph.input[0].name}: expected a batch of 1 or a free one, "
            f"found {shape[0]}",
            "export the model with a dynamic batch",
        )
