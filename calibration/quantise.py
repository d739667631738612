"""A float contract graph and frames in, INT8 graphs that still detect out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from . import encoding_tensorrt
from .chains import absorbed
from .convolution import bias_of, weights_of
from .covariance import covariances
from .equalise import equalised
from .errors import CalibrationError
from .fold import fold
from .groups import groups, integer_nodes, measurable
from .measured import Calibrated, Measured
from .observe import observe
from .placement import Source, place
from .prelude import find_prelude
from .ranges import choose
from .rounding import compensated
from .scales import Weights, weights
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx

    from .scales import Scale

    Progress = Callable[[str, int, int], None]
    """Told (what is being done, how many are done, of how many)."""

_COMPARED = 32
"""Frames on which layers are compared, spread over all."""


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
    cpu, tensorrt = (place(source, choice.nodes, choice.scales, rounded) for choice in choices)
    return Measured(source, cpu, tensorrt, report)


def _source(
    contract: onnx.ModelProto, frames: Sequence[npt.NDArray[np.uint8]], tell: Progress
) -> Source:
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
    return Source(model, topology, prelude, histograms, used, sample, tell)


@dataclass(frozen=True, slots=True)
class _Choice:
    """What one encoding runs in 8 bits, and how."""

    nodes: list[onnx.NodeProto]
    scales: Mapping[str, Scale]

    def convolutions(self) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type == "Conv"]


def _choose_cpu(source: Source) -> _Choice:
    topology = source.topology
    nodes = integer_nodes(topology, source.prelude)
    scales = choose(topology, source.prelude, groups(topology, nodes), source.histograms)
    return _Choice(nodes, scales)


def _choose_tensorrt(source: Source) -> _Choice:
    topology = source.topology
    inner = integer_nodes(topology, source.prelude)
    nodes = encoding_tensorrt.quantisable(topology, inner)
    scales = encoding_tensorrt.scales(topology, source.prelude, nodes, inner, source.histograms)
    return _Choice(nodes, scales)


def _round(source: Source, choices: Sequence[_Choice]) -> dict[str, Weights]:
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
