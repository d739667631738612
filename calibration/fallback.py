"""Which convolutions lose too much in 8 bits, and what of the graph then stays float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .topology import silu_input

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx

    from .local_error import LocalError
    from .topology import Topology

NOISE_LIMIT = 0.001
"""Weighed noise above which a convolution stays float32; chosen by measurement, see README.md."""
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})


def too_noisy(errors: Mapping[str, LocalError], influence: Mapping[str, float]) -> list[str]:
    """Return the outputs of the convolutions above `NOISE_LIMIT`, the worst first.

    Noise is weighed by the square root of the share of the network's heads that it reaches: the
    first layers' spoils everything, that of a head only its own. The mean error does not count,
    since a bias takes it off.
    """
    weighed = {name: error.noise * influence[name] ** 0.5 for name, error in errors.items()}
    worst = sorted(weighed, key=lambda name: (-weighed[name], name))
    return [name for name in worst if weighed[name] > NOISE_LIMIT]


def without(
    topology: Topology, nodes: list[onnx.NodeProto], convolutions: list[str]
) -> list[onnx.NodeProto]:
    """Return the integer nodes without these convolutions and without what makes their inputs.

    The input's activation and the convolution before it are left float32 with it: what was lost in
    8 bits there cannot be had back here. What then reads nothing made in 8 bits is float32, too.
    """
    left: set[str] = set()
    for output in convolutions:
        left |= {output} | _makers(topology, topology.producer[output].input[0])
    integer: set[str] = set()
    kept = []
    for node in nodes:
        if node.output[0] in left:
            continue
        # Between two nodes in float there is nothing to gain by 8 bits.
        if node.op_type == "Conv" or not integer.isdisjoint(node.input):
            kept.append(node)
            integer.update(node.output)
    return kept


def _makers(topology: Topology, name: str) -> set[str]:
    """Return the first outputs of the activation that makes a tensor and the Conv before it."""
    node = topology.producer.get(name)
    if node is None:
        return set()
    x = silu_input(topology, node)
    if x is not None:
        (gate,) = (other for other in node.input if other != x)
        gated = topology.producer[gate].input[0]
        return {name, gate} | ({gated} - {x}) | _makers(topology, x)
    if node.op_type in _ACTIVATIONS:
        return {name} | _makers(topology, node.input[0])
    return {name} if node.op_type == "Conv" else set()
