"""A float contract graph and frames in, INT8 graphs that still detect out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import encoding_cpu, encoding_tensorrt
from .chains import absorbed
from .convolution import bias_of, weights_of
from .covariance import covariances
from .equalise import equalised
from .errors import CalibrationError
from .fallback import too_noisy, without
from .fold import fold
from .groups import groups, integer_nodes, measurable
from .layers import Layer, shares
from .local_error import LocalError, local_errors
from .observe import observe
from .prelude import Prelude, find_prelude
from .ranges import choose
from .rounding import compensated
from .scales import Weights, weights
from .tail import body, influence
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

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
class _Placement:
    """How one encoding runs everything it can in 8 bits, and what that costs each layer."""

    nodes: list[onnx.NodeProto]
    scales: Mapping[str, Scale]
    rounded: Mapping[str, Weights]
    errors: Mapping[str, LocalError]
    noisy: tuple[str, ...]
    """Convolutions that had better stay in float, the worst first."""


class Measured:
    """All that is expensive to know of a graph: ranges, biases, layers. `encode` only writes."""

    def __init__(
        self,
        source: _Source,
        cpu: _Placement,
        tensorrt: _Placement,
        report: dict[str, Any],
    ) -> None:
        self._source = source
        self._cpu = cpu
        self._tensorrt = tensorrt
        self._report = report
        self.layers = _layers(source, cpu, tensorrt)
        """Every convolution that can run in 8 bits, in the graph's order."""
        self.default_float = tuple(dict.fromkeys((*cpu.noisy, *tensorrt.noisy)))
        """Layers that `encode` leaves in float32 when it is not told which, the worst first."""

    def encode(self, in_float: Collection[str] | None = None) -> Calibrated:
        """Return both graphs, with the layers named `in_float` in float32; None: the default."""
        self._refuse_unknown(in_float or ())
        cpu = self._cpu.noisy if in_float is None else tuple(in_float)
        tensorrt = self._tensorrt.noisy if in_float is None else tuple(in_float)
        report = {
            **self._report,
            "cpu": self._told(self._cpu, cpu),
            "tensorrt": self._told(self._tensorrt, tensorrt),
        }
        return Calibrated(self.encode_cpu(cpu), self.encode_tensorrt(tensorrt), report)

    def encode_cpu(self, in_float: Collection[str]) -> onnx.ModelProto:
        """Return the graph that ONNX Runtime fuses.

        A layer in float takes the activation before it, and the convolution before that, with it.
        """
        self._refuse_unknown(in_float)
        topology, placement = self._source.topology, self._cpu
        nodes = without(topology, placement.nodes, [*in_float])
        tensors = {name for group in groups(topology, nodes) for name in group}
        errors = {
            name: error
            for name, error in placement.errors.items()
            if topology.producer[name].input[0] in tensors and name not in in_float
        }
        return encoding_cpu.encode(
            self._source.model,
            topology,
            self._source.prelude,
            {node.output[0] for node in nodes},
            {name: placement.scales[name] for name in sorted(tensors)},
            placement.rounded,
            _corrected(topology, errors),
        )

    def encode_tensorrt(self, in_float: Collection[str]) -> onnx.ModelProto:
        """Return the graph that TensorRT fuses."""
        self._refuse_unknown(in_float)
        topology, placement = self._source.topology, self._tensorrt
        integer = {node.output[0] for node in placement.nodes}.difference(in_float)
        errors = {name: error for name, error in placement.errors.items() if name in integer}
        read = {
            name for node in placement.nodes if node.output[0] in integer for name in node.input
        }
        return encoding_tensorrt.encode(
            self._source.model,
            topology,
            integer,
            {name: scale for name, scale in placement.scales.items() if name in read},
            placement.rounded,
            _corrected(topology, errors),
        )

    def _told(self, placement: _Placement, in_float: Collection[str]) -> dict[str, Any]:
        """Return plain JSON values for the passport."""
        worst = sorted(placement.errors.items(), key=lambda item: -item[1].noise)[:_REPORTED]
        share = {layer.name: layer.share for layer in self.layers}
        return {
            "quantised_tensors": len(placement.scales),
            "kept_float": {name: round(share[name], 5) for name in in_float},
            "noisiest": {name: round(error.noise, 5) for name, error in worst},
        }

    def _refuse_unknown(self, in_float: Collection[str]) -> None:
        unknown = sorted(set(in_float) - {layer.name for layer in self.layers})
        if unknown:
            raise CalibrationError(
                f"layers to keep in float: expected outputs of convolutions, found {unknown[0]}",
                "name those of Measured.layers",
            )


@dataclass(frozen=True, slots=True)
class _Source:
    """A folded float graph, what its tensors hold, and the frames to compare layers on."""

    model: onnx.ModelProto
    topology: Topology
    prelude: Prelude
    histograms: Mapping[str, Histogram]
    used: int
    """Frames after which the ranges stood still."""
    frames: Sequence[npt.NDArray[np.uint8]]
    tell: Progress


def quantise(
    contract: onnx.ModelProto,
    frames: Sequence[npt.NDArray[np.uint8]],
    *,
    progress: Progress | None = None,
) -> Calibrated:
    """Quantise a contract graph on letterboxed frames, uint8 (H, W, 3) BGR each.

    Raises `CalibrationError` for a graph or frames that cannot be calibrated.
    """
    return measure(contract, frames, progress).encode()


def measure(
    contract: onnx.ModelProto,
    frames: Sequence[npt.NDArray[np.uint8]],
    progress: Progress | None = None,
) -> Measured:
    """Measure a contract graph on letterboxed frames, uint8 (H, W, 3) BGR each.

    Raises `CalibrationError` for a graph or frames that cannot be calibrated.
    """
    source = _source(contract, frames, progress or (lambda _what, _done, _of: None))
    report = {
        "frames": source.used,
        "frames_given": len(frames),
        "ranges": "least squared error behind the activation, over a histogram of every value",
        "weights": "symmetric int8 per output channel, rounding errors compensated",
        "biases": f"mean local error removed, on {len(source.frames)} frames",
    }
    choices = _choose_cpu(source), _choose_tensorrt(source)
    rounded = _round(source, choices)
    cpu, tensorrt = (_placement(source, choice, rounded) for choice in choices)
    return Measured(source, cpu, tensorrt, report)


def _source(
    contract: onnx.ModelProto, frames: Sequence[npt.NDArray[np.uint8]], tell: Progress
) -> _Source:
    model = absorbed(fold(contract))
    _check(model, frames)
    sample = frames[:: -(-len(frames) // _COMPARED)]
    model = equalised(model, sample, lambda done: tell("comparing channels", done, len(sample)))
    topology = Topology(model)
    prelude = find_prelude(topology)
    tensors = measurable(topology, groups(topology, integer_nodes(topology, prelude)))
    histograms, used = observe(
        model, tensors, frames, lambda done: tell("measuring ranges", done, len(frames))
    )
    return _Source(model, topology, prelude, histograms, used, sample, tell)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one encoding runs in 8 bits, and how."""

    nodes: list[onnx.NodeProto]
    scales: Mapping[str, Scale]

    def convolutions(self) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type == "Conv"]


def _choose_cpu(source: _Source) -> _Choice:
    topology = source.topology
    nodes = integer_nodes(topology, source.prelude)
    scales = choose(topology, source.prelude, groups(topology, nodes), source.histograms)
    return _Choice(nodes, scales)


def _choose_tensorrt(source: _Source) -> _Choice:
    topology = source.topology
    inner = integer_nodes(topology, source.prelude)
    nodes = encoding_tensorrt.quantisable(topology, inner)
    scales = encoding_tensorrt.scales(topology, source.prelude, nodes, inner, source.histograms)
    return _Choice(nodes, scales)


def _round(source: _Source, choices: Sequence[_Choice]) -> dict[str, Weights]:
    """Return the integer weights of every convolution, the same for each encoding."""
    topology, total = source.topology, len(source.frames)
    by_name = {node.output[0]: node for choice in choices for node in choice.convolutions()}
    varied = covariances(
        source.model,
        topology,
        list(by_name.values()),
        source.frames,
        lambda done: source.tell("measuring inputs", done, total),
    )
    rounded = {}
    for number, (name, node) in enumerate(by_name.items()):
        values = weights_of(topology, node)
        if values is None:
            continue
        steps = [c.scales[node.input[0]].scale for c in choices if node.input[0] in c.scales]
        rounded[name] = weights(values, bias_of(topology, node), min(steps))
        if name in varied:
            integers = compensated(values, rounded[name].scales, varied.pop(name))
            rounded[name] = Weights(integers, rounded[name].scales)
        source.tell("rounding weights", number + 1, len(by_name))
    return rounded


def _placement(source: _Source, choice: _Choice, rounded: Mapping[str, Weights]) -> _Placement:
    total = len(source.frames)
    integer = {node.output[0] for node in choice.nodes}
    errors = local_errors(
        source.model,
        source.topology,
        integer,
        choice.scales,
        rounded,
        source.frames,
        lambda done: source.tell("comparing layers", done, total),
    )
    noisy = too_noisy(errors, influence(source.topology, body(source.topology)))
    kept = tuple(name for name in noisy if name in integer)
    return _Placement(choice.nodes, choice.scales, rounded, errors, kept)


def _layers(source: _Source, cpu: _Placement, tensorrt: _Placement) -> tuple[Layer, ...]:
    found = shares(source.model, source.topology, source.frames[0])
    reached = influence(source.topology, body(source.topology))

    def noise(placement: _Placement, name: str) -> float:
        return placement.errors[name].noise if name in placement.errors else 0.0

    integer = {node.output[0] for placed in (cpu, tensorrt) for node in placed.nodes}
    return tuple(
        Layer(name, found[name], noise(cpu, name), noise(tensorrt, name), reached[name])
        for name in found
        if name in integer
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
