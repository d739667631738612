"""The arithmetic between real values and 8-bit integers: value = scale * (integer - zero_point)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .products import largest_sums

_SMALLEST_RANGE = 1e-6
_INT32_HEADROOM = 2.0**30


@dataclass(frozen=True, slots=True)
class Scale:
    """How one tensor is written in 8 bits."""

    scale: float
    zero_point: int
    signed: bool = False
    """int8 when true, else uint8."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"Scale.scale: expected finite and > 0, got {self.scale}")
        if not self.limits[0] <= self.zero_point <= self.limits[1]:
            raise ValueError(f"Scale.zero_point: expected {self.limits}, got {self.zero_point}")

    @property
    def limits(self) -> tuple[int, int]:
        """Least and greatest integer."""
        return (-128, 127) if self.signed else (0, 255)

    def quantise(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.integer]:
        """Return the integers, int8 or uint8, nearest to `values` (ties to even, as ONNX does)."""
        integers = np.clip(np.rint(values / self.scale) + self.zero_point, *self.limits)
        kind = np.int8 if self.signed else np.uint8
        written: npt.NDArray[np.integer] = integers.astype(kind)
        return written

    def round_trip(self, values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
        """Return what is left of `values` after quantisation."""
        integers = np.clip(np.rint(values / self.scale) + self.zero_point, *self.limits)
        restored: npt.NDArray[np.float64] = (integers - self.zero_point) * self.scale
        return restored

    def times(self, factor: float) -> Scale:
        """Return the scale of another step, so many times this one; 0 stays exact."""
        return replace(self, scale=float(np.float32(self.scale * factor)))


def unsigned(low: float, high: float) -> Scale:
    """Return the asymmetric uint8 scale for `low`..`high`, in which zero is exact.

    A range that does not hold zero is stretched to it; an empty one becomes a tiny one.
    """
    low, high = min(low, 0.0), max(high, 0.0, _SMALLEST_RANGE)
    scale = float(np.float32((high - low) / 255))
    return Scale(scale, int(np.clip(round(-low / scale), 0, 255)))


def symmetric(low: float, high: float) -> Scale:
    """Return the symmetric int8 scale for `low`..`high`, zero point 0."""
    return Scale(float(np.float32(max(-low, high, _SMALLEST_RANGE) / 127)), 0, signed=True)


@dataclass(frozen=True, slots=True)
class Weights:
    """A convolution's weights per output channel: `integers` int8, `scales` float32 (C,)."""

    integers: npt.NDArray[np.int8]
    scales: npt.NDArray[np.float32]

    def restored(self) -> npt.NDArray[np.float32]:
        """Return the weights as the integers give them back."""
        shape = (-1,) + (1,) * (self.integers.ndim - 1)
        return self.integers.astype(np.float32) * self.scales.reshape(shape)


def weights(
    values: npt.NDArray[np.float32], bias: npt.NDArray[np.float32], input_scale: float
) -> Weights:
    """Quantise weights (C, ...), symmetric int8 per channel.

    Two that are multiplied side by side fit 16 bits (products.py). A channel of tiny weights gets
    a scale at which its bias, written in steps of input_scale * scale, still fits 32 bits.
    """
    largest = np.abs(values.reshape(len(values), -1)).max(axis=1)
    largest = np.maximum(largest, largest_sums(values))
    scales = np.maximum(largest / 127, np.abs(bias) / (input_scale * _INT32_HEADROOM))
    scales = np.maximum(scales, 1e-12).astype(np.float32)
    shape = (-1,) + (1,) * (values.ndim - 1)
    integers = np.clip(np.rint(values / scales.reshape(shape)), -127, 127).astype(np.int8)
    return Weights(integers, scales)
