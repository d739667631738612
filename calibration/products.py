"""Weights with which no sum of products leaves 16 bits, whatever the activations are.

On CPUs with AVX2 and without VNNI ONNX Runtime multiplies bytes by an instruction that adds two
neighbouring products in 16 bits and cuts off what does not fit; the way round it takes half as long
again. With uint8 activations two neighbours of one sign fit if their weights add up to no more than
32767 / 255, whose whole part is `LARGEST`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

LARGEST = 128


def largest_sums(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the largest sum of two neighbours of one sign for each filter (C,), unsigned.

    `values` are weights (C, channels, kernel height, kernel width).
    """
    flat = values.reshape(len(values), -1).astype(np.float64)
    found = np.zeros(len(values))
    for first, second in _neighbours(values.shape[1:]):
        for part in (np.maximum(flat, 0), np.maximum(-flat, 0)):
            found = np.maximum(found, (part[:, first] + part[:, second]).max(axis=1))
    return found


def fitted(integers: npt.NDArray[np.int8]) -> npt.NDArray[np.int8]:
    """Return weights (C, channels, kernel height, kernel width) as far as they fit.

    The larger of two neighbours that do not gives way.
    """
    found = integers.reshape(len(integers), -1).astype(np.int64)
    for first, second in _neighbours(integers.shape[1:]):
        left, right = found[:, first], found[:, second]
        excess = np.maximum(np.abs(left + right) - LARGEST, 0) * (left * right > 0)
        larger = np.abs(left) >= np.abs(right)
        found[:, first] -= np.sign(left) * excess * larger
        found[:, second] -= np.sign(right) * excess * ~larger
    return found.reshape(integers.shape).astype(np.int8)


def _neighbours(
    shape: tuple[int, ...],
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return the weights of a filter (channels, ...) that are multiplied side by side, as indices.

    Channels come after one another, for one place of the window after the other. An even number of
    them makes pairs; of an odd number (colours) any two in a row may be one, in either order of
    the colours. One channel is a depthwise convolution's, whose kernel adds in 32 bits. Within each
    list no weight is in two pairs.
    """
    channels = shape[0]
    places = np.arange(int(np.prod(shape))).reshape(channels, -1).T
    if channels == 1:
        return []
    if channels % 2 == 0:
        return [(places[:, ::2].reshape(-1), places[:, 1::2].reshape(-1))]
    rows = (places.reshape(-1), places[:, ::-1].reshape(-1))
    pairs = [(row[start:-1:2], row[start + 1 :: 2]) for row in rows for start in (0, 1)]
    return [(first, second) for first, second in pairs if len(first)]
