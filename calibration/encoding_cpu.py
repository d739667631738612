"""The encoding that ONNX Runtime's CPU kernels fuse: a Q/DQ pair behind every op of the body."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from . import integer_ops
from .convolution import bias_of
from .equalise import plain_in_float
from .fallback import is_rounded
from .rectifiers import rectified, taken_in
from .scales import Weights
from .stem import COLOURS, PIXELS, find_stem
from .topology import MOVES
from .writer import TO_PIXELS, TO_PLANES, Writer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from .prelude import Prelude
    from .scales import Scale
    from .stem import Stem
    from .topology import Topology

_WITH_CONSTANTS = frozenset({"Add", "Mul", "MatMul"})
_PLANES = 4
"""Dimensions of feature maps: (B, C, H, W)."""
_PASSED = MOVES | {"Relu", "Clip"}
"""Ops that ONNX Runtime looks through, or carries a QuantizeLinear through, to a convolution."""


def encode(  # noqa: PLR0913, PLR0917 - the parts of one calibration
    model: onnx.ModelProto,
    topology: Topology,
    prelude: Prelude,
    integer: Collection[str],
    scales: Mapping[str, Scale],
    rounded: Mapping[str, Weights],
    biases: Mapping[str, npt.NDArray[np.float32]],
) -> onnx.ModelProto:
    """Return the graph with a Q/DQ pair on every tensor of `scales`.

    `integer` names, by its first output, each node that is to run in 8 bits; `biases` replaces
    biases of convolutions, by output name.
    """
    encoder = _Encoder(topology, integer, scales, rounded, biases)
    height, width = (d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim[1:3])
    encoder.write_front(prelude, (height, width))
    for node in topology.nodes:
        encoder.write(node)
    written = encoder.writer.finish(model)
    plain_in_float(written)
    return written


class _Encoder:
    """Writes the nodes of a graph one after the other."""

    def __init__(
        self,
        topology: Topology,
        integer: Collection[str],
        scales: Mapping[str, Scale],
        rounded: Mapping[str, Weights],
        biases: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        self.writer = Writer(scales)
        self._topology = topology
        self._pixels = ""
        self._integer = integer
        self._rounded = rounded
        self._biases = biases
        self._written: set[str] = set()

    def write_front(self, prelude: Prelude, size: tuple[int, int]) -> None:
        """Write what leads from the frames to the network, and the convolution that reads it."""
        self._pixels = prelude.tensor
        if prelude.scale is None:
            return
        stem = find_stem(self._topology, prelude, size)
        quantised = prelude.tensor in self.writer.scales
        if stem is not None and quantised and stem.conv.output[0] in self._integer:
            self._written |= {node.output[0] for node in prelude.nodes}
            self._write_stem(stem, prelude, size)
        elif quantised:
            self._written |= {node.output[0] for node in prelude.nodes}
            self._write_pixels(prelude)
        elif stem is not None:
            self._written |= {node.output[0] for node in (*prelude.nodes, stem.conv)}
            self._write_float_stem(replace(stem, grouped=False), prelude.tensor, prelude.scale)

    def write(self, node: onnx.NodeProto) -> None:
        """Write a node, unless it is there already."""
        if node.output[0] in self._written:
            return
        if node.output[0] in self._integer and integer_ops.write(self.writer, self._topology, node):
            return
        writer, output = self.writer, node.output[0]
        copy = self._rectifier(node)
        if output not in self._integer:
            self._read_as_made(node, copy)
        if node.op_type == "Conv":
            weights = self._rounded.get(output) if output in self._integer else None
            bias = self._biases.get(output, bias_of(self._topology, node))
            if weights is not None:
                self._weigh(copy, node.input[0], weights, bias)
            elif output in self._biases:
                del copy.input[2:]
                copy.input.append(writer.constant(f"{output}/bias", bias))
        elif output in self._integer and node.op_type in _WITH_CONSTANTS:
            self._write_constants(node, copy)
        writer.emit(copy, fenced=self._would_be_rounded(node))

    def _weigh(
        self,
        copy: onnx.NodeProto,
        read: str,
        weights: Weights,
        bias: npt.NDArray[np.float32],
    ) -> None:
        """Give a convolution that reads tensor `read` integer weights and bias."""
        output = copy.output[0]
        products = weights.scales.astype(np.float64) * self.writer.scales[read].scale
        integers = np.rint(bias / products).astype(np.int32)
        steps = products.astype(np.float32)
        del copy.input[1:]
        copy.input.append(self.writer.weights(output, weights))
        copy.input.append(self.writer.per_channel(f"{output}/bias", integers, steps))

    def _write_pixels(self, prelude: Prelude) -> None:
        """Move the pixels as integers: they already are the quantised tensor."""
        name = self._topology.inputs[0]
        for move in prelude.moves:
            moved = onnx.NodeProto()
            moved.CopyFrom(move)
            moved.input[0] = name
            name = moved.output[0] = f"{move.output[0]}/q"
            self.writer.nodes.append(moved)
        self.writer.dequantise(prelude.tensor, name)

    def _write_float_stem(self, stem: Stem, tensor: str, scale: Scale) -> None:
        """Move the pixels as integers, and let the weights put them in order and scale them."""
        writer, frames = self.writer, self._topology.inputs[0]
        name = writer.cast(
            writer.transposed(frames, f"{tensor}/planes", TO_PLANES), f"{tensor}/cast"
        )
        if scale.zero_point:
            name = writer.subtracted(name, f"{tensor}/centred", float(scale.zero_point))
        conv = writer.rewired(stem.conv)
        weights = stem.weights(stem.values * np.float32(scale.scale))
        conv.input[0] = name
        conv.input[1] = writer.constant(f"{conv.output[0]}/weight", weights)
        writer.emit(conv)

    def _write_stem(self, stem: Stem, prelude: Prelude, size: tuple[int, int]) -> None:
        """Let the first convolution read the frames themselves, their colours in their order."""
        writer, output = self.writer, stem.conv.output[0]
        chain = self._to_quantised(stem.conv)
        stem = replace(stem, grouped=stem.grouped and bool(chain))
        self._written |= {node.output[0] for node in (chain if stem.grouped else [stem.conv])}
        frames = self._topology.inputs[0]
        if stem.grouped:
            shape = [0, 0, size[1] // PIXELS, PIXELS * COLOURS]
            frames = writer.reshaped(frames, f"{frames}/grouped", shape)
        writer.dequantise(
            prelude.tensor, writer.transposed(frames, f"{prelude.tensor}/q", TO_PLANES)
        )
        conv = writer.rewired(stem.conv)
        bias = self._biases.get(output, bias_of(self._topology, stem.conv))
        rounded = self._rounded[output]
        weights = Weights(stem.weights(rounded.integers), stem.spread(rounded.scales))
        self._weigh(conv, prelude.tensor, weights, stem.spread(bias))
        if not stem.grouped:
            writer.emit(conv)
            return
        del conv.attribute[:]
        conv.attribute.extend(helper.make_attribute(k, v) for k, v in stem.attributes.items())
        writer.nodes.append(conv)
        for node in chain[1:]:
            writer.nodes.append(self._rectifier(node))
        self._ungroup(chain[-1].output[0], size[1] // stem.window.strides[1], len(bias))

    def _ungroup(self, name: str, width: int, channels: int) -> None:
        """Quantise a tensor whose channels hold neighbours, and put these in a row."""
        writer = self.writer
        integers = writer.quantise(name, f"{name}/grouped/q")
        pixels = writer.transposed(integers, f"{name}/grouped/pixels", TO_PIXELS)
        row = writer.reshaped(pixels, f"{name}/pixels", [0, 0, width, channels])
        writer.dequantise(name, writer.transposed(row, f"{name}/q", TO_PLANES))

    def _to_quantised(self, conv: onnx.NodeProto) -> list[onnx.NodeProto]:
        """Return a convolution, and the rectifier if that is between it and its quantisation.

        Nothing where its output is not quantised at once.
        """
        if conv.output[0] in self.writer.scales:
            return [conv]
        if rectified(self._topology, conv.output[0]):
            (node,) = self._topology.consumers[conv.output[0]]
            if node.output[0] in self._integer and node.output[0] in self.writer.scales:
                return [conv, node]
        return []

    def _rectifier(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = self.writer.rewired(node)
        if taken_in(self._topology, node, self._integer, self.writer.scales):
            # Not left out: whoever looks into the graph finds its tensors by their names.
            del copy.input[1:], copy.attribute[:]
            copy.op_type = "Identity"
        return copy

    def _read_as_made(self, node: onnx.NodeProto, copy: onnx.NodeProto) -> None:
        """Let a float32 node read what float32 nodes make as it is, not as others quantise it."""
        for index, name in enumerate(node.input):
            if name in self.writer.scales and not self._is_rounded(name):
                copy.input[index] = name

    def _is_rounded(self, name: str) -> bool:
        return is_rounded(self._topology, self._integer, self._pixels, name)

    def _write_constants(self, node: onnx.NodeProto, copy: onnx.NodeProto) -> None:
        for index, name in enumerate(node.input):
            values = self._topology.constant(name)
            if values is not None:
                wide = self._as_rows(node.output[0], values)
                copy.input[index] = self.writer.quantised_constant(name, wide)

    def _as_rows(self, output: str, values: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """Return a value per channel, (1, C, 1, 1), as often as a row has pixels, (1, C, 1, W).

        ONNX Runtime's loop then runs along a row and not along the channels of each pixel: .4 ns
        a value for 1.5.
        """
        shape = self._topology.shape(output)
        if values.ndim != _PLANES or len(shape) != _PLANES or values.shape[2:] != (1, 1):
            return values
        return np.repeat(values, max(1, shape[3]), axis=3) if values.shape[1] > 1 else values

    def _would_be_rounded(self, node: onnx.NodeProto) -> bool:
        """Return whether ONNX Runtime would quantise a float convolution by itself.

        Where its input and its output are quantised, WeightBiasQuantization does: with one scale
        for the weights of all channels, more noise than the layer was kept in float for.
        """
        if (
            node.op_type != "Conv"
            or node.output[0] in self._integer
            or node.input[0] not in self.writer.scales
            or not self._is_rounded(node.input[0])
        ):
            return False
        return self._quantised_behind(node.output[0])

    def _quantised_behind(self, name: str) -> bool:
        """Return whether a tensor is quantised, at once or after a rectifier and moves."""
        return name in self.writer.scales or any(
            reader.op_type in _PASSED and self._quantised_behind(reader.output[0])
            for reader in self._topology.consumers[name]
        )
