"""What a frame looks like inside the network, layer by layer, in float and in INT8.

Read from the graphs themselves: what the report says of a layer is what will run.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import numpy_helper

from edge.detector.onnxruntime import INPUT
from engines.portable import AS_PRODUCT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from edge.frame import Image

    Array = npt.NDArray[np.float32]

_AT_ONCE = 16
"""Layers whose values are in memory together."""
_CHANNELS = 6
_MAPS = 4
_SMALLEST_MAP = 5
_SMALLEST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True)
class Range:
    """The values of one tensor that INT8 can tell, against those that a frame has."""

    low: float
    high: float
    seen_low: float
    seen_high: float


@dataclass(frozen=True, slots=True)
class Layer:
    """What one convolution of an INT8 graph reads: the float tensor `name`, or what is left of it.

    Looked at here, behind the activation, since what an activation cuts off is no loss.
    """

    name: str
    integer: bool
    """Whether the convolution runs in INT8; else it was left in float."""
    noise: float
    """Variance of INT8 minus float over that of float, all layers before in INT8 too."""
    range: Range | None
    """None where it reads floats."""


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """The most active channels of one layer, float32 (C, H, W) each."""

    name: str
    noise: float
    by_float: Array
    by_int8: Array


@dataclass(frozen=True, slots=True)
class _Tapped:
    """Where what a convolution reads can be looked at."""

    name: str
    integer: bool
    left: str
    """The tensor that holds what quantisation leaves of it."""
    scale: tuple[float, int, int, int] | None
    """Step, zero point, lowest and highest code."""


@dataclass
class Inside:
    """The convolutions of one INT8 graph, what they read in its order, and a few feature maps."""

    convolutions: int
    integer: int
    """How many of them run in INT8."""
    layers: list[Layer] = field(default_factory=list)
    worst_by_size: dict[tuple[int, ...], FeatureMap] = field(default_factory=dict)

    @property
    def maps(self) -> list[FeatureMap]:
        """Of the largest resolutions the layer that differs most from float, large to small."""
        sizes = [size for size in self.worst_by_size if min(size, default=0) >= _SMALLEST_MAP]
        sizes.sort(key=lambda size: -size[0] * size[1])
        return [self.worst_by_size[size] for size in sizes[:_MAPS]]

    def add(self, layer: Layer, shown: FeatureMap) -> None:
        """Take in the next convolution."""
        self.layers.append(layer)
        size = shown.by_float.shape[1:]
        known = self.worst_by_size.get(size)
        if layer.integer and (known is None or known.noise < shown.noise):
            self.worst_by_size[size] = shown


def look_inside(
    reference: onnx.ModelProto, graphs: Mapping[str, onnx.ModelProto], frame: Image
) -> dict[str, Inside]:
    """Return, for each INT8 graph, what its convolutions read on a frame, float beside it.

    Tensors that only one of the graphs has are left out.
    """
    known = {name for node in reference.graph.node for name in node.output}
    every = {part: list(_taps(graph)) for part, graph in graphs.items()}
    inside = {p: Inside(len(taps), sum(t.integer for t in taps)) for p, taps in every.items()}
    taps = {part: [tap for tap in found if tap.name in known] for part, found in every.items()}
    longest = max((len(found) for found in taps.values()), default=0)
    for start in range(0, longest, _AT_ONCE):
        some = {part: found[start : start + _AT_ONCE] for part, found in taps.items()}
        floats = _values(reference, [tap.name for found in some.values() for tap in found], frame)
        for part, found in some.items():
            names = [name for tap in found for name in (tap.name, tap.left)]
            ints = _values(graphs[part], names, frame)
            for tap in found:
                # Rewriting may give a name to another tensor: then there is nothing to compare.
                if floats[tap.name].shape == ints[tap.left].shape:
                    inside[part].add(*_compare(tap, floats[tap.name], ints))
    return inside


def _taps(graph: onnx.ModelProto) -> Iterator[_Tapped]:
    constants = {item.name: item for item in graph.graph.initializer}
    producer = {name: node for node in graph.graph.node for name in node.output}

    def behind(name: str, op: str) -> onnx.NodeProto | None:
        node = producer.get(name)
        return node if node is not None and node.op_type == op else None

    for node in graph.graph.node:
        if node.op_type == "Conv":
            left = node.input[0]
        elif node.name.endswith(AS_PRODUCT):
            left = producer[node.input[0]].input[0]
        else:
            continue
        dq = behind(left, "DequantizeLinear")
        q = behind(dq.input[0], "QuantizeLinear") if dq is not None else None
        integer = dq is not None and behind(node.input[1], "DequantizeLinear") is not None
        if q is None:
            yield _Tapped(left, integer, left, None)
        else:
            yield _Tapped(q.input[0], integer, left, _scale(q, constants))


def _scale(
    q: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto]
) -> tuple[float, int, int, int] | None:
    if any(name not in constants for name in q.input[1:]) or len(q.input) < 3:  # noqa: PLR2004
        return None
    step, zero = (numpy_helper.to_array(constants[name]) for name in q.input[1:3])
    codes = np.iinfo(zero.dtype)
    return float(step.flat[0]), int(zero.flat[0]), int(codes.min), int(codes.max)


def _values(graph: onnx.ModelProto, names: Sequence[str], frame: Image) -> dict[str, Array]:
    """Return the named tensors' values on a frame, unoptimised: fused nodes hide tensors."""
    import onnxruntime

    tapped = onnx.ModelProto()
    tapped.CopyFrom(graph)
    wanted = list(dict.fromkeys(names))
    if not wanted:
        return {}
    del tapped.graph.output[:]
    tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(
        tapped.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    found: list[Any] = session.run(wanted, {INPUT: frame[np.newaxis]})
    return dict(zip(wanted, found, strict=True))


def _compare(tap: _Tapped, y: Array, ints: Mapping[str, Array]) -> tuple[Layer, FeatureMap]:
    left = _as_loud(y, ints[tap.left])
    noise = float((left - y).var() / max(float(y.var()), _SMALLEST_VARIANCE))
    found = None
    if tap.scale is not None:
        step, zero, low, high = tap.scale
        seen = ints[tap.name]
        found = Range(
            (low - zero) * step, (high - zero) * step, float(seen.min()), float(seen.max())
        )
    channels = _most_active(y)
    return (
        Layer(tap.name, tap.integer, noise, found),
        FeatureMap(tap.name, noise, _chosen(y, channels), _chosen(left, channels)),
    )


def _as_loud(y: Array, left: Array) -> Array:
    """Return `left` with each channel (axis 1) brought to float's loudness by least squares.

    Calibration scales channels and takes it back in the next layer: that is no noise.
    """
    axes = tuple(axis for axis in range(y.ndim) if axis != 1)
    power = np.maximum((left * left).sum(axes, keepdims=True), _SMALLEST_VARIANCE)
    scaled: Array = left * ((left * y).sum(axes, keepdims=True) / power)
    return scaled


def _most_active(y: Array) -> list[int]:
    """Return the channels of (1, C, H, W) that vary most over the picture, in their order."""
    if y.ndim != 4:  # noqa: PLR2004 - a convolution of another kind of data
        return []
    variance = y[0].var(axis=(1, 2))
    return sorted(np.argsort(-variance, kind="stable")[:_CHANNELS].tolist())


def _chosen(y: Array, channels: Sequence[int]) -> Array:
    return y[0, channels].copy() if channels else np.empty((0, 0, 0), np.float32)
