"""How the inputs of each convolution vary together: what the error of a rounded weight does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .convolution import weights_of
from .observe import activations
from .topology import attribute

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    from .topology import Topology

_ROWS_PER_INPUT = 4
_FEWEST_ROWS = 2048
"""Patches looked at, over all frames: enough for the covariance of that many numbers."""
_LARGEST = 768
"""Inputs taken together. A larger filter is cut into blocks of channels, each by itself: the cost
grows with the cube, and what lies in other channels has little to make up for."""


@dataclass(frozen=True, slots=True)
class Window:
    """How a convolution walks over its input."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]
    """Top, left, bottom, right."""
    dilations: tuple[int, int]
    groups: int

    def positions(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of its output on an input of this size."""
        top, left, bottom, right = self.pads
        sides = (height + top + bottom, width + left + right)
        rows, columns = (
            (side - d * (k - 1) - 1) // s + 1
            for side, k, s, d in zip(sides, self.kernel, self.strides, self.dilations, strict=True)
        )
        return rows, columns

    def patches(
        self, values: npt.NDArray[np.float32], chosen: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        """Return what the convolution reads at the `chosen` output positions (P,), row by row.

        `values` is (N, C, H, W); the answer (G, P, C / G * kernel height * kernel width).
        """
        top, left, bottom, right = self.pads
        rows, columns = self.positions(*values.shape[2:])
        padded = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
        down = np.repeat(np.arange(self.kernel[0]) * self.dilations[0], self.kernel[1])
        across = np.tile(np.arange(self.kernel[1]) * self.dilations[1], self.kernel[0])
        image, place = np.divmod(chosen[:, None], rows * columns)
        row, column = np.divmod(place, columns)
        # (P, kh * kw, C): the axis between the indexed ones comes last.
        read = padded[image, :, row * self.strides[0] + down, column * self.strides[1] + across]
        grouped = read.swapaxes(1, 2).reshape(len(chosen), self.groups, -1)
        return np.ascontiguousarray(grouped.swapaxes(0, 1))


def window_of(topology: Topology, conv: onnx.NodeProto) -> Window | None:
    """Return how a two-dimensional Conv walks, or None for any other or a computed padding."""
    values = weights_of(topology, conv)
    padding = attribute(conv, "auto_pad", b"NOTSET")
    if values is None or values.ndim != 4 or padding not in (b"NOTSET", b"VALID"):  # noqa: PLR2004
        return None
    pads = attribute(conv, "pads", [0, 0, 0, 0])
    strides = attribute(conv, "strides", [1, 1])
    dilations = attribute(conv, "dilations", [1, 1])
    return Window(
        (values.shape[2], values.shape[3]),
        tuple(strides),  # type: ignore[arg-type]
        tuple(pads),  # type: ignore[arg-type]
        tuple(dilations),  # type: ignore[arg-type]
        int(attribute(conv, "group", 1)),  # type: ignore[call-overload]
    )


def covariances(
    model: onnx.ModelProto,
    topology: Topology,
    convolutions: Sequence[onnx.NodeProto],
    frames: Sequence[npt.NDArray[np.uint8]],
    done: Callable[[int], None],
) -> dict[str, npt.NDArray[np.float64]]:
    """Return per convolution, by its output, the covariance of its inputs: (G, K, K).

    K are the inputs that one output of a group depends on; of a convolution without groups G are
    the blocks of input channels, if more than `_LARGEST`. Convolutions that are not two-dimensional
    with constant weights and padding are left out.
    """
    windows = {
        conv.output[0]: window
        for conv in convolutions
        if (window := window_of(topology, conv)) is not None
    }
    sums = {name: _Moments() for name in windows}
    read = {name: topology.producer[name].input[0] for name in windows}
    tensors = sorted(set(read.values()))
    generator = np.random.default_rng(0)
    for index, values in enumerate(activations(model, tensors, frames)):
        held = dict(zip(tensors, values, strict=True))
        for name, window in windows.items():
            images = held[read[name]]
            chosen = _some(generator, window, images.shape, len(frames))
            sums[name].add(_blocks(window.patches(images, chosen), images.shape[1]))
        done(index + 1)
    return {name: moments.covariance() for name, moments in sums.items()}


def _blocks(rows: npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """Return patches (1, P, K) as (B, P, K / B), each block of whole channels; (G, P, K) as is."""
    if len(rows) > 1:
        return rows
    size = rows.shape[2]
    divisors = [count for count in range(1, channels + 1) if channels % count == 0]
    count = next((n for n in divisors if size // n <= _LARGEST), channels)
    return rows.reshape(-1, count, size // count).swapaxes(0, 1)


def _some(
    generator: np.random.Generator, window: Window, shape: tuple[int, ...], frames: int
) -> npt.NDArray[np.int64]:
    """Return one frame's share of the output positions to look at, for an input (N, C, H, W)."""
    rows, columns = window.positions(*shape[2:])
    total = shape[0] * rows * columns
    size = min(_LARGEST, shape[1] // window.groups * window.kernel[0] * window.kernel[1])
    wanted = -(-max(_FEWEST_ROWS, _ROWS_PER_INPUT * size) // frames)
    if total <= wanted:
        return np.arange(total)
    return np.sort(generator.choice(total, wanted, replace=False))


class _Moments:
    """Sums over rows of numbers, as they differ from the mean of the first rows.

    Of the numbers themselves, where these hardly vary, float32 would leave variances below zero.
    """

    def __init__(self) -> None:
        self._count = 0
        self._near: npt.NDArray[np.float32] | None = None
        self._sum = np.zeros(())
        self._products = np.zeros(())

    def add(self, rows: npt.NDArray[np.float32]) -> None:
        if self._near is None:
            self._near = rows.mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
        rows = rows - self._near
        self._count += rows.shape[1]
        self._sum = self._sum + rows.sum(axis=1, dtype=np.float64)
        self._products = self._products + rows.swapaxes(1, 2) @ rows

    def covariance(self) -> npt.NDArray[np.float64]:
        mean = self._sum / self._count
        second = self._products / self._count
        found: npt.NDArray[np.float64] = second - mean[:, :, None] * mean[:, None, :]
        return found
