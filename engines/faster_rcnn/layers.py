"""Layers of a network, written from a state_dict's weights under torch's names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.faster_rcnn.checkpoint import Weights
    from engines.graph import GraphBuilder

_EPSILON = 1e-5
"""What torchvision's detectors add to a variance."""


class Layers:
    """Appends layers to a graph; `read` collects the names of the weights that were used."""

    def __init__(self, graph: GraphBuilder, weights: Weights) -> None:
        self.graph = graph
        self.weights = weights
        self.read: set[str] = set()

    def has(self, name: str) -> bool:
        """Return whether there are weights of that name."""
        return f"{name}.weight" in self.weights

    def count(self, pattern: str) -> int:
        """Return how many of `pattern`, with {} for 0, 1, 2 and so on, have weights."""
        number = 0
        while self.has(pattern.format(number)):
            number += 1
        return number

    def conv(self, tensor: str, name: str, norm: str | None = None, **how: int) -> str:
        """Append a convolution that keeps the size but for its `stride`, its norm folded in.

        Depthwise where the kernel takes one channel.
        """
        kernel = self._take(f"{name}.weight")
        bias = self._optional(f"{name}.bias", len(kernel))
        if norm is not None and self.has(norm):
            kernel, bias = self._folded(kernel, bias, norm)
        side, stride = int(kernel.shape[2]), how.get("stride", 1)
        groups = len(kernel) if kernel.shape[1] == 1 and len(kernel) > 1 else 1
        return self.graph.op(
            "Conv",
            tensor,
            self.graph.constant(kernel),
            self.graph.constant(bias),
            kernel_shape=[side, side],
            strides=[stride, stride],
            pads=[side // 2] * 4,
            group=groups,
        )

    def linear(self, tensor: str, name: str) -> str:
        """Append a linear layer of rows (P, features)."""
        weight, bias = self._take(f"{name}.weight"), self._take(f"{name}.bias")
        return self.graph.op(
            "Gemm", tensor, self.graph.constant(weight), self.graph.constant(bias), transB=1
        )

    def relu(self, tensor: str) -> str:
        """Append a rectifier."""
        return self.graph.op("Relu", tensor)

    def _folded(
        self, kernel: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], norm: str
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        mean, variance, scale, shift = (
            self._take(f"{norm}.{part}")
            for part in ("running_mean", "running_var", "weight", "bias")
        )
        factor = scale / np.sqrt(variance + _EPSILON)
        return kernel * factor[:, None, None, None], (bias - mean) * factor + shift

    def _take(self, name: str) -> npt.NDArray[np.float32]:
        self.read.add(name)
        return self.weights[name]

    def _optional(self, name: str, length: int) -> npt.NDArray[np.float32]:
        return self._take(name) if name in self.weights else np.zeros(length, np.float32)
