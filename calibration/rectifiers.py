"""Rectifiers behind a convolution or an addition: a range that ends where they cut does their work.

ONNX Runtime takes one into the integer kernel only where the range ends there to the last bit, and
runs the convolution in float where it does not; so the encoding leaves them out by itself.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from .topology import MOVES

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx

    from .scales import Scale
    from .topology import Topology

_RECTIFIERS = frozenset({"Relu", "Clip"})
_SLACK = 0.51
"""How far beyond the cut a range may end, in steps: less than rounding does anyhow."""


def rectified(topology: Topology, name: str) -> bool:
    """Return whether a rectifier alone reads a convolution's or an addition's output."""
    readers = topology.consumers[name]
    return (
        topology.producer[name].op_type in ("Conv", "Add")
        and len(readers) == 1
        and readers[0].op_type in _RECTIFIERS
    )


def cut(topology: Topology, name: str) -> tuple[float, float] | None:
    """Return where the rectifier that a kernel takes in cuts what is moved to a tensor, if one."""
    node = topology.producer.get(name)
    while node is not None and node.op_type in MOVES and node.op_type != "Concat":
        node = topology.producer.get(node.input[0])
    if node is None:
        return None
    if node.op_type == "Concat":
        cuts = {cut(topology, read) for read in node.input}
        return cuts.pop() if len(cuts) == 1 else None
    if node.op_type not in _RECTIFIERS or not _behind_kernel(topology, node):
        return None
    return _limits(topology, node)


def taken_in(
    topology: Topology,
    node: onnx.NodeProto,
    integer: Collection[str],
    scales: Mapping[str, Scale],
) -> bool:
    """Return whether a node is a rectifier that the range of its output makes needless."""
    name = node.output[0]
    if node.op_type not in _RECTIFIERS or not _behind_kernel(topology, node):
        return False
    limits = _limits(topology, node)
    if not {name, node.input[0]} <= set(integer) or name not in scales or limits is None:
        return False
    scale = scales[name]
    least, most = ((limit - scale.zero_point) * scale.scale for limit in scale.limits)
    slack = _SLACK * scale.scale
    return least > limits[0] - slack and most < limits[1] + slack


def _behind_kernel(topology: Topology, rectifier: onnx.NodeProto) -> bool:
    read = rectifier.input[0]
    return read in topology.producer and rectified(topology, read)


def _limits(topology: Topology, rectifier: onnx.NodeProto) -> tuple[float, float] | None:
    """Return the least and the greatest value behind a rectifier; None where they are computed."""
    if rectifier.op_type == "Relu":
        return 0.0, math.inf
    found = [-math.inf, math.inf]
    for index, name in enumerate(rectifier.input[1:]):
        if name:
            value = topology.constant(name)
            if value is None:
                return None
            found[index] = float(value.reshape(-1)[0])
    return found[0], found[1]
