"""Ops of the body written otherwise than in the float graph, as ONNX Runtime is faster with them.

Between convolutions it keeps channels last. There its Resize and its QLinearAveragePool go value by
value and its Pad takes floats, where a Gather copies all channels of a pixel at once, a convolution
of ones takes sixteen channels at a time, and Pad copies integers as well. A HardSigmoid it computes
in floats only, but it is no more than an addition that is cut off at both ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

from .scales import Scale, unsigned
from .writer import TO_PIXELS, TO_PLANES

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from .topology import Topology
    from .writer import Writer

_SHIFTS = {b"floor": 0.0, b"round_prefer_ceil": 0.5}
"""What is added before the fraction is cut off, by Resize's nearest_mode …"""
_SHIFTS_DOWN = {b"ceil": 0.0, b"round_prefer_floor": 0.5}
"""… or taken off before it is made a whole."""
_ORIGINS = {b"asymmetric": 0.0, b"half_pixel": 0.5, b"pytorch_half_pixel": 0.5}
"""Where in a pixel its coordinate is, by Resize's coordinate_transformation_mode."""
_EXACT = (1, 2, 4, 8)
"""Factors by which coordinates can be divided without a rounding of their own."""
_WALK = ("kernel_shape", "strides", "pads", "dilations")
"""Attributes of pools that convolutions have too."""


def write(writer: Writer, topology: Topology, node: onnx.NodeProto) -> bool:
    """Write an integer node if it is one of these; return whether it was."""
    x, y = node.input[0], node.output[0]
    if x not in writer.scales or y not in writer.scales:
        return False
    told = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    written = _WRITERS.get(node.op_type)
    return written is not None and written(writer, topology, node, told)


def _write_pad(
    writer: Writer, _topology: Topology, node: onnx.NodeProto, told: dict[str, Any]
) -> bool:
    x, y = node.input[0], node.output[0]
    if told.get("mode", b"constant") != b"constant" or writer.scales[x] != writer.scales[y]:
        return False
    zero = writer.scales[x].zero_point
    writer.dequantise(y, writer.padded(f"{x}/q", f"{y}/q", zero, node.input))
    return True


def _write_average(
    writer: Writer, topology: Topology, node: onnx.NodeProto, told: dict[str, Any]
) -> bool:
    output = node.output[0]
    channels = (*topology.shape(node.input[0]), 0, 0)[1]
    counts_all = told.get("count_include_pad") or not any(told.get("pads", ()))
    if (
        not channels
        or not counts_all
        or told.get("ceil_mode")
        or told.get("auto_pad", b"NOTSET") != b"NOTSET"
    ):
        return False
    ones = np.ones((channels, 1, *told["kernel_shape"]), np.int8)
    share = np.full(channels, 1 / ones[0].size, np.float32)
    weights = writer.per_channel(f"{output}/weight", ones, share)
    walk = {key: value for key, value in told.items() if key in _WALK}
    inputs = [f"{node.input[0]}/dq", weights]
    writer.emit(helper.make_node("Conv", inputs, [output], name=node.name, group=channels, **walk))
    return True


def _write_hard_sigmoid(
    writer: Writer, _topology: Topology, node: onnx.NodeProto, told: dict[str, Any]
) -> bool:
    """Write clip(alpha * x + beta, 0, 1) as the sum of x and beta / alpha.

    Its integers, in steps of 1 / alpha, are those of the answer, which end where it is clipped.
    """
    x, y = node.input[0], node.output[0]
    alpha, beta = told.get("alpha", 0.2), told.get("beta", 0.5)
    if alpha <= 0 or writer.scales[y] != unsigned(0.0, 1.0):
        return False
    added = writer.quantised_constant(f"{y}/added", np.array(beta / alpha, np.float32))
    writer.nodes.append(helper.make_node("Add", [f"{x}/dq", added], [f"{y}/sum"], name=node.name))
    steps = Scale(float(np.float32(writer.scales[y].scale / alpha)), 0)
    writer.dequantise(y, writer.quantise(f"{y}/sum", f"{y}/q", steps))
    return True


def _write_resize(
    writer: Writer, topology: Topology, node: onnx.NodeProto, told: dict[str, Any]
) -> bool:
    x, y = node.input[0], node.output[0]
    picked = _picked(topology, node, told)
    if picked is None or writer.scales[x] != writer.scales[y]:
        return False
    # ONNX Runtime carries channels last through a convolution, but not through a Gather.
    name = writer.transposed(f"{x}/q", f"{y}/pixels", TO_PIXELS)
    for axis, places in enumerate(picked, start=1):
        name = writer.gathered(name, f"{y}/picked/{axis}", places, axis)
    writer.dequantise(y, writer.transposed(name, f"{y}/q", TO_PLANES))
    return True


def _picked(
    topology: Topology, node: onnx.NodeProto, told: dict[str, Any]
) -> list[npt.NDArray[np.int64]] | None:
    """Return the rows and the columns that a Resize to the nearest takes, one for each it makes.

    None where it does something else, or its factors are no small powers of two.
    """
    factors = topology.constant(node.input[2]) if len(node.input) > 2 else None  # noqa: PLR2004
    sides = topology.shape(node.input[0])
    rounding = told.get("nearest_mode", b"round_prefer_floor")
    origin = _ORIGINS.get(told.get("coordinate_transformation_mode", b"half_pixel"))
    if (
        told.get("mode", b"nearest") != b"nearest"
        or "axes" in told
        or factors is None
        or factors.size != 4  # noqa: PLR2004
        or not {1}.issuperset(factors[:2].tolist())
        or not {*_EXACT}.issuperset(factors[2:].tolist())
        or not all(sides[2:])
        or origin is None
    ):
        return None
    found = []
    for side, factor in zip(sides[2:], factors[2:].astype(int), strict=True):
        places = _rounded((np.arange(side * factor) + origin) / factor - origin, rounding)
        found.append(np.clip(places, 0, side - 1).astype(np.int64))
    return found


def _rounded(places: npt.NDArray[np.float64], mode: bytes) -> npt.NDArray[np.float64]:
    """Return whole coordinates by Resize's nearest_mode."""
    if mode in _SHIFTS:
        return np.floor(places + _SHIFTS[mode])
    return np.ceil(places - _SHIFTS_DOWN[mode])


_WRITERS = {
    "AveragePool": _write_average,
    "HardSigmoid": _write_hard_sigmoid,
    "Pad": _write_pad,
    "Resize": _write_resize,
}
