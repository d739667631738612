"""The first convolution, made to read pixels as they lie in memory: `PIXELS` of a row at a time.

ONNX Runtime's convolution that gathers nothing takes channels by fours only. With three, what is
under the window is first copied, three bytes at a time, which costs more than multiplying it. Four
neighbours of a row are twelve channels, without a copy; the convolution then makes the outputs of
all four at once, as so many more channels, and multiplies zeros where a window ends inside a group.
All of it is exact.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from onnx import helper

from .convolution import weights_of
from .covariance import window_of

if TYPE_CHECKING:
    from typing import Any

    import numpy.typing as npt
    import onnx

    from .covariance import Window
    from .prelude import Prelude
    from .topology import Topology

PIXELS = 4
"""Neighbours that are read as one."""
COLOURS = 3
_MOST_EXTRA = 4000
"""Multiplications with zeros per output position that cost about what the copying does, without
VNNI; with it they are cheaper."""


@dataclass(frozen=True, slots=True)
class Stem:
    """The only convolution that reads the image, and how."""

    conv: onnx.NodeProto
    values: npt.NDArray[np.float32]
    """Its weights (C, 3, kernel height, kernel width)."""
    order: tuple[int, ...]
    """Which channel of a frame each of its input channels is."""
    window: Window
    grouped: bool
    """Whether it may read `PIXELS` at a time."""

    @property
    def outputs(self) -> int:
        """Neighbours of its output that it makes at once."""
        return PIXELS // self.window.strides[1] if self.grouped else 1

    def weights(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return weights (C, 3, kernel height, kernel width) as it needs them.

        The answer is in the order of a frame's channels, and if grouped of shape
        (outputs * C, PIXELS * 3, kernel height, groups).
        """
        ordered = np.empty_like(values)
        ordered[:, list(self.order)] = values
        if not self.grouped:
            return ordered
        channels, _, height, width = values.shape
        first, last = _reach(self.window)
        shape = (self.outputs, channels, PIXELS, COLOURS, height, last - first + 1)
        found = np.zeros(shape, values.dtype)
        for output in range(self.outputs):
            for column in range(width):
                group, pixel = divmod(_column(self.window, output, column), PIXELS)
                found[output, :, pixel, :, :, group - first] = ordered[:, :, :, column]
        return found.reshape(self.outputs * channels, PIXELS * COLOURS, height, -1)

    def spread(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return what belongs to each output channel (C,), for every neighbour."""
        return np.tile(values, self.outputs)

    @property
    def attributes(self) -> dict[str, list[int]]:
        """What the convolution is told when it is grouped."""
        top, _, bottom, _ = self.window.pads
        first, last = _reach(self.window)
        return {
            "kernel_shape": [self.window.kernel[0], last - first + 1],
            "strides": [self.window.strides[0], 1],
            "pads": [top, -first, bottom, last],
        }


def find_stem(topology: Topology, prelude: Prelude, size: tuple[int, int]) -> Stem | None:
    """Return the convolution that alone reads an image of `size` (height, width), if there is one.

    It must have constant weights, and what comes before it must keep the pixels in place.
    """
    readers = topology.consumers[prelude.tensor]
    order = _order(topology, prelude)
    if len(readers) != 1 or readers[0].op_type != "Conv" or order is None:
        return None
    window, values = window_of(topology, readers[0]), weights_of(topology, readers[0])
    if window is None or values is None or values.shape[1] != COLOURS:
        return None
    return Stem(readers[0], values, order, window, _can_be_grouped(window, len(values), size))


def _order(topology: Topology, prelude: Prelude) -> tuple[int, ...] | None:
    """Return which channel of a frame each channel of the image is, if that is all that moves."""
    frame = np.arange(2 * 2 * COLOURS).reshape(1, 2, 2, COLOURS)
    moved = frame
    for node in prelude.moves:
        values = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        if node.op_type == "Transpose":
            moved = moved.transpose(values["perm"])
        else:
            indices = topology.constant(node.input[1])
            if indices is None or indices.ndim != 1:
                return None
            moved = moved.take(indices.astype(np.int64), axis=values.get("axis", 0))
    order = tuple(int(channel) for channel in moved[0, :, 0, 0])
    placed = frame.transpose(0, 3, 1, 2)[:, list(order)] if max(order) < COLOURS else moved[:0]
    return order if sorted(order) == [0, 1, 2] and np.array_equal(moved, placed) else None


def _can_be_grouped(window: Window, channels: int, size: tuple[int, int]) -> bool:
    stride, width = window.strides[1], size[1]
    if (
        window.groups != 1
        or window.dilations != (1, 1)
        or channels % PIXELS
        or width % PIXELS
        or PIXELS % stride
        or window.positions(*size)[1] * stride != width
    ):
        return False
    first, last = _reach(window)
    height = window.kernel[0]
    read = height * (last - first + 1) * PIXELS * COLOURS
    extra = channels * (read - height * window.kernel[1] * COLOURS)
    return extra <= _MOST_EXTRA


def _column(window: Window, output: int, column: int) -> int:
    """Return the pixel under a column of the window for a neighbour, counted from the group's."""
    return output * window.strides[1] - window.pads[1] + column


def _reach(window: Window) -> tuple[int, int]:
    """Return the first and the last group under the windows of a group, 0 being that itself."""
    last = _column(window, PIXELS // window.strides[1] - 1, window.kernel[1] - 1)
    return math.floor(_column(window, 0, 0) / PIXELS), math.floor(last / PIXELS)
