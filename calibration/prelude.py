"""The way from `frames` to the network: where it only moves and scales, it stays in integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .scales import Scale

if TYPE_CHECKING:
    import onnx

    from .topology import Topology

_MOVES = frozenset({"Transpose", "Gather"})
_ARITHMETIC = frozenset({"Mul", "Div", "Add", "Sub"})
_ROUNDING = 1e-3


@dataclass(frozen=True, slots=True)
class Prelude:
    """`tensor` is the first real-valued tensor of the network; `nodes` lead to it from `frames`."""

    tensor: str
    nodes: tuple[onnx.NodeProto, ...]
    moves: tuple[onnx.NodeProto, ...]
    """Those of `nodes` that only move pixels, in order."""
    scale: Scale | None
    """How the pixels already are the quantised tensor; None when no uint8 scale says so exactly."""


def find_prelude(topology: Topology) -> Prelude:
    """Follow the only path from the graph's input through moves and per-tensor arithmetic."""
    tensor = topology.inputs[0]
    nodes: list[onnx.NodeProto] = []
    factor, offset = 1.0, 0.0
    while len(readers := topology.consumers[tensor]) == 1:
        node = readers[0]
        step = _step(topology, node, tensor)
        if step is None:
            break
        factor, offset = factor * step[0], offset * step[0] + step[1]
        nodes.append(node)
        tensor = node.output[0]
    moves = tuple(node for node in nodes if node.op_type in _MOVES)
    return Prelude(tensor, tuple(nodes), moves, _as_scale(factor, offset))


def _step(  # noqa: PLR0911 - a table of cases
    topology: Topology, node: onnx.NodeProto, tensor: str
) -> tuple[float, float] | None:
    """Return (factor, offset) of a node that computes factor * tensor + offset, else None."""
    if node.op_type == "Cast" or (node.op_type in _MOVES and node.input[0] == tensor):
        return 1.0, 0.0
    if node.op_type not in _ARITHMETIC:
        return None
    position = list(node.input).index(tensor)
    constant = topology.constant(node.input[1 - position])
    if constant is None:
        return None
    if constant.size != 1:
        return math.nan, math.nan  # per channel: no single scale can say it
    value = float(constant.reshape(-1)[0])
    if node.op_type in ("Add", "Sub"):
        sign = -1.0 if node.op_type == "Sub" else 1.0
        return (1.0, sign * value) if position == 0 else (sign, value)
    if node.op_type == "Mul":
        return value, 0.0
    return (1 / value, 0.0) if position == 0 else None


def _as_scale(factor: float, offset: float) -> Scale | None:
    """Return the scale at which pixel p means factor * p + offset, or None."""
    if not factor > 0:
        return None
    zero_point = -offset / factor
    if (
        abs(zero_point - round(zero_point)) > _ROUNDING
        or not 0 <= round(zero_point) <= np.iinfo(np.uint8).max
    ):
        return None
    return Scale(float(np.float32(factor)), round(zero_point))
