"""What a convolution holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from .topology import Topology


def weights_of(topology: Topology, conv: onnx.NodeProto) -> npt.NDArray[np.float32] | None:
    """Return the weights (C, ...) of a Conv, or None where they are computed."""
    values = topology.constant(conv.input[1])
    return None if values is None else values.astype(np.float32)


def bias_of(topology: Topology, conv: onnx.NodeProto) -> npt.NDArray[np.float32]:
    """Return the bias (C,) of a Conv with constant weights; zeros where it has none."""
    bias = topology.constant(conv.input[2]) if len(conv.input) > 2 else None  # noqa: PLR2004
    if bias is not None:
        return bias.astype(np.float32)
    values = weights_of(topology, conv)
    return np.zeros(0 if values is None else len(values), np.float32)
