"""Exports that normalise their image in the graph: read off its first operators, not done twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx
from onnx import numpy_helper

from engines.graph import constants

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.families.family import Preprocessing
    from engines.reading.model import Network

_SMALL = 0.05
"""A factor below it is for pixels in 0..255: networks take 0..1, or more than that."""
_MOVES = {"Cast", "Identity", "Transpose"}
_BY_CONSTANTS = {"Add", "Div", "Mul", "Sub"}
_SWAPPED = [2, 1, 0]
_STEPS = 4
"""Which input of Slice the steps are."""


def taken(network: Network, usual: Preprocessing) -> Preprocessing:
    """Return how a network is fed whose family is fed as is `usual`.

    That is with pixels as they are where its graph scales them down itself, or takes bytes; and
    with the colours the other way round where it swaps these on the way.
    """
    scale, swaps = _begins(network)
    if usual.scale / max(usual.std) > _SMALL:
        return usual
    fed = usual
    if scale <= _SMALL or takes_bytes(network):
        fed = replace(usual, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    if not swaps:
        return fed
    colours: Literal["BGR", "RGB"] = "BGR" if usual.colours == "RGB" else "RGB"
    return replace(fed, colours=colours, mean=fed.mean[::-1], std=fed.std[::-1])


def takes_bytes(network: Network) -> bool:
    """Return whether the export's image is uint8: what it is normalised by is in the graph."""
    kinds = {v.name: v.type.tensor_type.elem_type for v in network.source.model.graph.input}
    return kinds.get(network.image) == onnx.TensorProto.UINT8


def _begins(network: Network) -> tuple[float, bool]:
    """Return what the graph multiplies its image by before all else, and if it swaps colours."""
    graph, known = network.model.graph, constants(network.model.graph)
    tensor, scale, swaps = network.image, 1.0, False
    while len(readers := [node for node in graph.node if tensor in node.input]) == 1:
        (node,) = readers
        others = [numpy_helper.to_array(known[n]) for n in node.input if n in known]
        if node.op_type in _BY_CONSTANTS and others:
            scale *= _factor(node.op_type, float(np.abs(others[0]).max()))
        elif _swaps(node, known):
            swaps = not swaps
        elif node.op_type not in _MOVES:
            break
        tensor = node.output[0]
    return scale, swaps


def _factor(op_type: str, value: float) -> float:
    if op_type == "Mul":
        return value
    return 1 / value if op_type == "Div" and value else 1.0


def _swaps(node: onnx.NodeProto, known: Mapping[str, onnx.TensorProto]) -> bool:
    """Return whether a node turns the three colours round: no other axis is so short."""
    which = {"Gather": 1, "Slice": _STEPS}.get(node.op_type, len(node.input))
    if len(node.input) <= which or node.input[which] not in known:
        return False
    turned = numpy_helper.to_array(known[node.input[which]])
    return np.array_equal(turned, [-1] if node.op_type == "Slice" else _SWAPPED)
