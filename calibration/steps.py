"""A float graph in which one range alone is in 8 bits, at a step that is given when it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
from onnx import helper

from .groups import PROBABILITIES
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import Collection

    from .placement import Placement, Source

STEP = "step"
"""The graph's second input: float32, of no dimensions."""


def ranges(source: Source, placement: Placement) -> list[tuple[str, ...]]:
    """Return the tensors that share a scale, where the scale is a choice.

    That of the pixels and that of what spans 0..1 are none.
    """
    topology = source.topology
    shared: dict[int, list[str]] = {}
    for name, scale in placement.scales.items():
        shared.setdefault(id(scale), []).append(name)
    return [
        tuple(names)
        for names in shared.values()
        if source.prelude.tensor not in names
        and not any(topology.producer[name].op_type in PROBABILITIES for name in names)
    ]


def at_step(
    source: Source, placement: Placement, tensors: Collection[str], output: str
) -> tuple[onnx.ModelProto, float]:
    """Return the graph that makes `output` with only `tensors` in 8 bits, and the step they have.

    They are read in 8 bits by whatever reads them so in this encoding.
    """
    (scale,) = {placement.scales[name] for name in tensors}
    writer = Writer(dict.fromkeys(tensors, scale))
    readers = {node.output[0] for node in placement.nodes}
    for node in source.topology.nodes:
        reads = not scale.signed or node.output[0] in readers
        copy = writer.rewired(node) if reads else writer.untouched(node)
        # Unfenced, ONNX Runtime would round the weights of a convolution between two Q/DQ pairs.
        fenced = node.op_type == "Conv" and not set(tensors).isdisjoint(node.input)
        writer.emit(copy, fenced=fenced)
    written = writer.finish(source.model)
    graph = written.graph
    step = next(node.input[1] for node in graph.node if node.op_type == "QuantizeLinear")
    kept = [tensor for tensor in graph.initializer if tensor.name != step]
    del graph.initializer[:], graph.output[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.input[:] = [STEP if name == step else name for name in node.input]
    graph.input.append(helper.make_tensor_value_info(STEP, onnx.TensorProto.FLOAT, []))
    graph.output.append(onnx.ValueInfoProto(name=output))
    return written, scale.scale
