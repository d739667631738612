"""What calibration found out about a graph, which is expensive; `encode` only writes it down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import encoding_cpu, encoding_tensorrt, steps
from .convolution import bias_of, weights_of
from .errors import CalibrationError
from .fallback import is_rounded, without
from .groups import groups
from .layers import Layer, shares
from .observe import activations
from .seen import Seen
from .tail import body, influence, last_convolutions

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    import numpy.typing as npt
    import onnx

    from .local_error import LocalError
    from .placement import Placement, Source
    from .topology import Topology

CPU, TENSORRT = "cpu", "tensorrt"
"""The encodings, as the report names them."""
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


class Measured:
    """All that is expensive to know of a graph: ranges, biases, layers. `encode` only writes."""

    def __init__(
        self,
        source: Source,
        cpu: Placement,
        tensorrt: Placement,
        report: dict[str, Any],
    ) -> None:
        self._source = source
        self._cpu = cpu
        self._tensorrt = tensorrt
        self._report = report
        self.model = source.model
        """The float graph that both encodings are made of."""
        self.frames = source.frames
        """Those of the calibration on which layers were compared."""
        self.last = tuple(
            node.output[0] for node in last_convolutions(source.topology, body(source.topology))
        )
        """The convolutions that only the tail reads; they are float32 in both encodings."""
        self.layers = _layers(source, cpu, tensorrt)
        """Every convolution that can run in 8 bits, in the graph's order."""
        self.multiplications = _multiplications(source, self.layers)
        """Of all convolutions, on one frame."""

    def encode(self, in_float: Mapping[str, Collection[str]] | None = None) -> Calibrated:
        """Return both graphs; `in_float` has the layers in float32 by encoding, None: the default.

        An encoding that it does not name has all its layers in 8 bits.
        """
        noisy = {CPU: self._cpu.noisy, TENSORRT: self._tensorrt.noisy}
        named = noisy if in_float is None else in_float
        cpu, tensorrt = tuple(named.get(CPU, ())), tuple(named.get(TENSORRT, ()))
        graphs = self.encode_cpu(cpu), self.encode_tensorrt(tensorrt)
        report = {
            **self._report,
            CPU: self._told(self._cpu, cpu),
            TENSORRT: self._told(self._tensorrt, tensorrt),
        }
        return Calibrated(*graphs, report)

    def encode_cpu(self, in_float: Collection[str]) -> onnx.ModelProto:
        """Return the graph that ONNX Runtime fuses.

        A layer in float takes what makes its input with it, up to the convolutions before it.
        """
        self._refuse_unknown(in_float)
        topology, placement = self._source.topology, self._cpu
        nodes = without(topology, placement.nodes, [*in_float])
        tensors = _tensors(topology, nodes)
        rounded = self._reading_8_bits(nodes)
        errors = {
            name: error
            for name, error in placement.errors.items()
            if name in rounded and name not in in_float
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

    def alone(self, encoding: str, name: str) -> onnx.ModelProto:
        """Return the float graph with one layer in 8 bits: the loss that it would be spared.

        That is the rounding of its weights, of its input and, in the CPU encoding, of what the
        activation before it reads.
        """
        topology, placement = self._source.topology, self._placed(encoding)
        seen = Seen(topology, placement.scales)
        copy = seen.writer.untouched(topology.producer[name])
        copy.input[0] = seen.tensor(copy.input[0])
        copy.input[1] = seen.writer.weights(name, placement.rounded[name])
        del copy.input[2:]
        bias = _corrected(topology, {name: placement.errors[name]})[name]
        copy.input.append(seen.writer.constant(f"{name}/bias", bias))
        return seen.instead(copy).finish(self._source.model)

    def ranges(self, encoding: str) -> list[tuple[str, ...]]:
        """Return the tensors whose step is a choice; those of one tuple have the same step."""
        return steps.ranges(self._source, self._placed(encoding))

    def at_step(
        self, encoding: str, tensors: Collection[str], output: str
    ) -> tuple[onnx.ModelProto, float]:
        """Return the float graph with these tensors alone in 8 bits, and the step they have.

        The step is an input of the graph, `steps.STEP`; its output is tensor `output` alone.
        """
        return steps.at_step(self._source, self._placed(encoding), tensors, output)

    def rescaled(self, encoding: str, factors: Mapping[str, float]) -> Measured:
        """Return the same with the steps of these ranges times their factors in one encoding.

        A range is named by any of its tensors.
        """
        changed = {CPU: self._cpu, TENSORRT: self._tensorrt}
        changed[encoding] = changed[encoding].rescaled(self._source, factors)
        return Measured(self._source, changed[CPU], changed[TENSORRT], self._report)

    def sparable(self, encoding: str) -> dict[str, list[Layer]]:
        """Return the layers that read what is float32 where they are, and all that they take along.

        On the CPU the convolutions before it go with a layer, also behind sums, concatenations and
        moves; one whose input would be rounded all the same is spared nothing in float.
        """
        found, errors = {}, self._placed(encoding).errors
        for layer in self.layers:
            if layer.name not in errors:
                continue
            if encoding == TENSORRT:
                found[layer.name] = [layer]
                continue
            left = without(self._source.topology, self._cpu.nodes, [layer.name])
            if layer.name not in self._reading_8_bits(left):
                inside = {node.output[0] for node in left}
                found[layer.name] = [other for other in self.layers if other.name not in inside]
        return found

    def _reading_8_bits(self, nodes: list[onnx.NodeProto]) -> set[str]:
        """Return the layers whose input is there in 8 bits only, where these nodes are in them."""
        topology, prelude = self._source.topology, self._source.prelude.tensor
        tensors, integer = _tensors(topology, nodes), {node.output[0] for node in nodes}
        read = {layer.name: topology.producer[layer.name].input[0] for layer in self.layers}
        return {
            layer
            for layer, name in read.items()
            if name in tensors
            and (layer in integer or is_rounded(topology, integer, prelude, name))
        }

    def _placed(self, encoding: str) -> Placement:
        return {CPU: self._cpu, TENSORRT: self._tensorrt}[encoding]

    def _told(self, placement: Placement, in_float: Collection[str]) -> dict[str, Any]:
        """Return plain JSON values for the passport."""
        worst = sorted(placement.errors.items(), key=lambda item: -item[1].noise)[:_REPORTED]
        share = {layer.name: layer.share for layer in self.layers}
        return {
            "quantised_tensors": len(placement.scales),
            "kept_float": {name: round(share[name], 5) for name in in_float},
            "noisiest": {name: round(error.noise, 5) for name, error in worst},
            "steps_moved": {name: round(by, 5) for name, by in placement.moved.items()},
        }

    def _refuse_unknown(self, in_float: Collection[str]) -> None:
        unknown = sorted(set(in_float) - {layer.name for layer in self.layers})
        if unknown:
            raise CalibrationError(
                f"layers to keep in float: expected outputs of convolutions, found {unknown[0]}",
                "name those of Measured.layers",
            )


def _layers(source: Source, cpu: Placement, tensorrt: Placement) -> tuple[Layer, ...]:
    found = shares(source.model, source.topology, source.frames[0])
    reached = influence(source.topology, body(source.topology))

    def noise(placement: Placement, name: str) -> float:
        return placement.errors[name].noise if name in placement.errors else 0.0

    integer = {node.output[0] for placed in (cpu, tensorrt) for node in placed.nodes}
    return tuple(
        Layer(name, found[name], noise(cpu, name), noise(tensorrt, name), reached[name])
        for name in found
        if name in integer
    )


def _multiplications(source: Source, layers: Sequence[Layer]) -> float:
    if not layers:
        return 0.0
    largest = max(layers, key=lambda layer: layer.share)
    weights = weights_of(source.topology, source.topology.producer[largest.name])
    ((values,),) = activations(source.model, [largest.name], source.frames[:1])
    return 0.0 if weights is None else values.size * weights[0].size / largest.share


def _tensors(topology: Topology, nodes: list[onnx.NodeProto]) -> set[str]:
    """Return the tensors in 8 bits where these nodes are."""
    return {name for group in groups(topology, nodes) for name in group}


def _corrected(
    topology: Topology, errors: Mapping[str, LocalError]
) -> dict[str, npt.NDArray[np.float32]]:
    """Return the biases at which no channel of a convolution is off on average."""
    return {
        name: bias_of(topology, topology.producer[name]) - error.shift
        for name, error in errors.items()
    }
