"""The convolutions of a network as what may be left in float: what each costs, what each loses."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .convolution import weights_of
from .observe import activations

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt
    import onnx

    from .topology import Topology


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution that can run in 8 bits; `name` is its output tensor."""

    name: str
    share: float
    """Of all the network's multiplications in convolutions, 0..1."""
    cpu_noise: float
    """Variance of the 8-bit error over variance of the output, in the CPU encoding; 0 is exact."""
    tensorrt_noise: float
    influence: float
    """Share of the network's last convolutions that depend on it, 0..1."""

    def __post_init__(self) -> None:
        for field in ("share", "cpu_noise", "tensorrt_noise", "influence"):
            if not 0 <= getattr(self, field) <= 1:
                raise ValueError(f"Layer.{field}: expected 0..1, got {getattr(self, field)}")

    @property
    def harm(self) -> float:
        """What it does to the detections, as far as one layer alone can tell: for ranking.

        Noise, weighed by the square root of the share of the heads that it reaches: what is lost in
        the first layers spoils everything, what is lost in a head only its own.
        """
        return max(self.cpu_noise, self.tensorrt_noise) * math.sqrt(self.influence)


def shares(
    model: onnx.ModelProto, topology: Topology, frame: npt.NDArray[np.uint8]
) -> dict[str, float]:
    """Return each convolution's share of all their multiplications on a frame (H, W, 3)."""
    convolutions = [node for node in topology.nodes if node.op_type == "Conv"]
    names = [node.output[0] for node in convolutions]
    (values,) = activations(model, names, [frame])
    counted = {
        node.output[0]: _multiplications(topology, node, value.shape)
        for node, value in zip(convolutions, values, strict=True)
    }
    total = sum(counted.values())
    return {name: count / total for name, count in counted.items()}


def _multiplications(topology: Topology, conv: onnx.NodeProto, shape: Sequence[int]) -> int:
    weights = weights_of(topology, conv)
    return 0 if weights is None else math.prod(shape) * math.prod(weights.shape[1:])
