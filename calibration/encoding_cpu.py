"""The encoding that ONNX Runtime's CPU kernels fuse: a Q/DQ pair behind every op of the body."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from .convolution import bias_of
from .rectifiers import taken_in
from .topology import MOVES
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy.typing as npt

    from .prelude import Prelude
    from .scales import Scale, Weights
    from .topology import Topology

_WITH_CONSTANTS = frozenset({"Add", "Mul", "MatMul"})
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
    writer = Writer(scales)
    skipped: set[str] = set()
    if prelude.scale is not None and prelude.tensor in scales:
        skipped = {node.output[0] for node in prelude.nodes}
        _write_pixels(writer, topology, prelude)
    for node in topology.nodes:
        if node.output[0] in skipped:
            continue
        copy = writer.rewired(node)
        if taken_in(topology, node, integer, scales):
            # Not left out: whoever looks into the graph finds its tensors by their names.
            del copy.input[1:], copy.attribute[:]
            copy.op_type = "Identity"
        if node.op_type == "Conv":
            weights = rounded.get(node.output[0]) if node.output[0] in integer else None
            _weigh(writer, topology, node, copy, biases, weights)
        elif node.output[0] in integer and node.op_type in _WITH_CONSTANTS:
            _write_constants(writer, topology, node, copy)
        writer.emit(copy, fenced=_would_be_rounded(writer, topology, node, integer))
    return writer.finish(model)


def _would_be_rounded(
    writer: Writer, topology: Topology, node: onnx.NodeProto, integer: Collection[str]
) -> bool:
    """Return whether ONNX Runtime would quantise a float convolution by itself.

    Where its input and its output are quantised, WeightBiasQuantization does: with one scale for
    the weights of all channels, which is more noise than the layer was kept in float for.
    """
    if node.op_type != "Conv" or node.output[0] in integer or node.input[0] not in writer.scales:
        return False
    return _quantised_behind(writer, topology, node.output[0])


def _quantised_behind(writer: Writer, topology: Topology, name: str) -> bool:
    """Return whether a tensor is quantised, at once or after a rectifier and moves."""
    return name in writer.scales or any(
        reader.op_type in _PASSED and _quantised_behind(writer, topology, reader.output[0])
        for reader in topology.consumers[name]
    )


def _write_pixels(writer: Writer, topology: Topology, prelude: Prelude) -> None:
    """Move the pixels as integers: they already are the quantised tensor."""
    name = topology.inputs[0]
    for move in prelude.moves:
        moved = onnx.NodeProto()
        moved.CopyFrom(move)
        moved.input[0] = name
        name = moved.output[0] = f"{move.output[0]}/q"
        writer.nodes.append(moved)
    writer.dequantise(prelude.tensor, name)


def _write_constants(
    writer: Writer, topology: Topology, node: onnx.NodeProto, copy: onnx.NodeProto
) -> None:
    for index, name in enumerate(node.input):
        values = topology.constant(name)
        if values is not None:
            copy.input[index] = writer.quantised_constant(name, values)


def _weigh(  # noqa: PLR0913, PLR0917
    writer: Writer,
    topology: Topology,
    conv: onnx.NodeProto,
    copy: onnx.NodeProto,
    biases: Mapping[str, npt.NDArray[np.float32]],
    quantised: Weights | None,
) -> None:
    """Give a convolution its bias, and its weights if they are integers."""
    output = conv.output[0]
    bias = biases.get(output, bias_of(topology, conv))
    if quantised is None:
        if output in biases:
            del copy.input[2:]
            copy.input.append(writer.constant(f"{output}/bias", bias))
        return
    step = writer.scales[conv.input[0]].scale
    products = quantised.scales.astype(np.float64) * step
    integers = np.rint(bias / products).astype(np.int32)
    del copy.input[1:]
    copy.input.append(writer.weights(output, quantised))
    copy.input.append(writer.per_channel(f"{output}/bias", integers, products.astype(np.float32)))
