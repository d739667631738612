"""Which convolutions lose too much in 8 bits, and what of the graph then stays float32."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .topology import MOVES, silu_input

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx

    from .local_error import LocalError
    from .topology import Topology

NOISE_LIMIT = 0.001
"""Weighed noise above which a convolution stays float32; chosen by measurement, see README.md."""
_ACTIVATIONS = frozenset({"Relu", "Clip", "LeakyRelu"})
_PASSES = MOVES | {"AveragePool"}


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

    The input's activation and the convolutions before it are left float32 with it: what was lost in
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


def is_rounded(topology: Topology, integer: Collection[str], prelude: str, name: str) -> bool:
    """Return whether a quantised tensor is there in 8 bits only.

    What a float32 node makes is, beside its integers, still there as it was: whoever reads it in
    float32 gets that. `integer` names the nodes in 8 bits by their first outputs; `prelude` is what
    the pixels are quantised to.
    """
    return name == prelude or topology.producer[name].output[0] in integer


def _makers(topology: Topology, name: str, *, summed: bool = False) -> set[str]:
    """Return the first outputs of all that makes a tensor, up to the convolutions before it.

    Nothing where it would be rounded all the same. Of a sum that is in a sum itself (`summed`)
    nothing: residual connections would take a whole stage along.
    """
    node = topology.producer.get(name)
    if node is None:
        return set()
    x = silu_input(topology, node)
    if x is not None:
        (gate,) = (other for other in node.input if other != x)
        gated = topology.producer[gate].input[0]
        before = _makers(topology, x, summed=summed)
        return before and {name, gate} | ({gated} - {x}) | before
    if node.op_type == "Conv":
        return {name}
    if node.op_type not in _ACTIVATIONS | _PASSES and (summed or node.op_type != "Add"):
        return set()
    summed = summed or node.op_type == "Add"
    parts = [_makers(topology, x, summed=summed) for x in topology.activations([*node.input])]
    spared = any(parts) if node.op_type == "Add" else all(parts)
    return {node.output[0]}.union(*parts) if parts and spared else set()
