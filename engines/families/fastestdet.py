"""FastestDet: one candidate per cell of one grid.

One output, (B, 5 + labels, h, w): objectness through a sigmoid, then raw x, y, width and height,
then the labels' softmax. centre = (tanh(xy) + cell) / (w, h), size = sigmoid(wh), both in 0..1;
score = objectness * label. Trained on BGR in 0..1, resized without bars.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_FIRST_LABEL = 5
_RANK = 4


class FastestDet(Family):
    """See the module."""

    name = "fastestdet"
    models = "FastestDet: one output (1, 5 + labels, h, w)"
    preprocessing = Preprocessing(letterbox="stretch", colours="BGR", scale=1 / 255)
    iou = 0.45

    def recognise(self, network: Network) -> Recognised | str:
        """Take one map whose first channel is a share, and whose last ones are shares of 1."""
        shape = next(iter(network.outputs.values()))
        if len(network.outputs) != 1 or len(shape) != _RANK:
            return f"outputs {network.outputs}, expected one (1, 5 + labels, h, w)"
        (values,) = values_of(network, list(network.outputs), self.preprocessing)
        channels = values.shape[1]
        if channels <= _FIRST_LABEL + 1 or not _are_shares(values):
            return Close(
                "on noise its output is no objectness in 0..1, four numbers and labels that add up "
                "to 1"
            )
        evidence = (
            f"its output is (1, 5 + {channels - _FIRST_LABEL}, h, w)",
            "on noise the first channel is within 0..1, and those from the sixth on add up to 1",
        )
        return Recognised(channels - _FIRST_LABEL, evidence)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every cell; decode the best."""
        ((output, shape),) = network.outputs.items()
        channels, rows, columns = (int(n) for n in shape[1:])
        count = rows * columns
        flat = graph.reshape(output, (0, channels, count))
        shares = graph.slice(flat, 1, _FIRST_LABEL, channels)
        objectness = graph.squeeze(graph.slice(flat, 1, 0, 1), 1)
        score = graph.op("Mul", objectness, graph.reduce_max(shares, 1))
        y, x = np.mgrid[:rows, :columns]
        cell = np.stack([x.ravel(), y.ravel()], 1)

        def decode(index: str) -> str:
            raw = graph.gather_columns(graph.slice(flat, 1, 1, _FIRST_LABEL), index, 4)
            sides = graph.op("Transpose", raw, perm=[0, 2, 1])
            shift = graph.op("Tanh", graph.slice(sides, 2, 0, 2))
            place = graph.op("Gather", graph.constant(cell), index, axis=0)
            step = np.array(network.size_wh) / (columns, rows)
            centre = graph.op("Mul", graph.op("Add", shift, place), graph.constant(step))
            size = graph.op("Sigmoid", graph.slice(sides, 2, 2, 4))
            half = graph.op("Mul", size, graph.constant(np.array(network.size_wh) / 2))
            low, high = graph.op("Sub", centre, half), graph.op("Add", centre, half)
            return graph.op("Concat", low, high, axis=2)

        def label(index: str) -> str:
            chosen = graph.gather_columns(shares, index, channels - _FIRST_LABEL)
            return graph.op("ArgMax", chosen, axis=1, keepdims=0)

        return Candidates(count, score, decode, label)


def _are_shares(values: npt.NDArray[np.float32]) -> bool:
    objectness, labels = values[:, 0], values[:, _FIRST_LABEL:]
    return bool(
        objectness.min() >= 0
        and objectness.max() <= 1
        and labels.min() >= 0
        and np.allclose(labels.sum(1), 1, atol=1e-3)
    )
