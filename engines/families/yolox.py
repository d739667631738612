"""YOLOX, exported without decoding (its default): raw offsets on the grid.

One output, (B, N, 5 + labels): per cell x, y offsets and log width, height in strides, then
objectness and the labels' scores, both already through a sigmoid. Boxes are decoded as in the
paper (arXiv 2107.08430, from YOLOv3's): centre = (xy + cell) * stride, size = exp(wh) * stride,
score = objectness * label. Trained on BGR in 0..255, letterboxed to the top left; the checkpoints
of its first release (0.1.0), which were normalised, are not meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from engines.families.family import Candidates, Family, Preprocessing, Recognised
from engines.families.grid import corners_and_strides, strides_of
from engines.graph import attribute, producers, tail_operators

if TYPE_CHECKING:
    from engines.graph import GraphBuilder
    from engines.model import Network

_BOX = 4
_FIRST_LABEL = 5
_UNDECODED = {"Transpose", "Concat", "Reshape", "Flatten", "Sigmoid", "Conv"}


class Yolox(Family):
    """See the module."""

    name = "yolox"
    models = "YOLOX as exported by default: one output (1, N, 5 + labels), boxes not decoded"
    preprocessing = Preprocessing(letterbox="top-left", colours="BGR")

    def recognise(self, network: Network) -> Recognised | str:
        """Take one output of one row per cell with sigmoids, but no arithmetic, behind the convs."""
        if len(network.outputs) != 1:
            return f"{len(network.outputs)} outputs, expected one"
        ((output, shape),) = network.outputs.items()
        if len(shape) != 3 or not all(isinstance(n, int) for n in shape[1:]):  # noqa: PLR2004
            return f"output {shape}, expected (1, N, 5 + labels)"
        count, columns = int(shape[1]), int(shape[2])
        strides = strides_of(network.size_wh, count)
        if columns <= _FIRST_LABEL or strides is None:
            return f"output {shape}: N is not the cells of the {network.size_wh} grid"
        operators = tail_operators(network.model.graph, output)
        if decoding := sorted(operators - _UNDECODED):
            return f"its boxes are already decoded in the graph ({', '.join(decoding)})"
        if "Sigmoid" not in operators:
            return "no sigmoid between the last convolutions and the output"
        return Recognised(
            columns - _FIRST_LABEL,
            (
                f"output {output!r} is (1, {count}, 5 + {columns - _FIRST_LABEL}), and {count} is "
                f"one candidate per cell at strides {', '.join(map(str, strides))}",
                "behind the last convolutions there are sigmoids but no arithmetic: boxes are raw",
            ),
        )

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every cell; gather the raw rows of the best and decode only these."""
        ((output, shape),) = network.outputs.items()
        count, columns = int(shape[1]), int(shape[2])
        rows = _channels_first(network, graph, output)
        strides = strides_of(network.size_wh, count) or ()
        grid, step = corners_and_strides(network.size_wh, strides)
        objectness = graph.squeeze(graph.slice(rows, 1, _BOX, _FIRST_LABEL), 1)
        labels_of = graph.slice(rows, 1, _FIRST_LABEL, columns)
        score = graph.op("Mul", objectness, graph.reduce_max(labels_of, 1))

        def decode(index: str) -> str:
            raw = graph.gather_columns(graph.slice(rows, 1, 0, _BOX), index, _BOX)
            # Per-cell constants, (K of N) at once: grid and stride share the index.
            cell = graph.op("Gather", graph.constant(grid.T), index, axis=0)
            stride = graph.op("Gather", graph.constant(step.T), index, axis=0)
            turned = graph.op("Transpose", raw, perm=[0, 2, 1])
            offset = graph.slice(turned, 2, 0, 2)
            centre = graph.op("Mul", graph.op("Add", offset, cell), stride)
            size = graph.op("Exp", graph.slice(turned, 2, 2, 4))
            half = graph.op("Mul", size, graph.op("Mul", stride, graph.constant(0.5)))
            low, high = graph.op("Sub", centre, half), graph.op("Add", centre, half)
            return graph.op("Concat", low, high, axis=2)

        def labels(index: str) -> str:
            chosen = graph.gather_columns(labels_of, index, columns - _FIRST_LABEL)
            return graph.op("ArgMax", chosen, axis=1, keepdims=0)

        return Candidates(count, score, decode, labels)


def _channels_first(network: Network, graph: GraphBuilder, output: str) -> str:
    """Return the output as (B, 5 + labels, N), which is how the head joins it before it turns it."""
    turned = producers(network.model.graph)[output]
    if turned.op_type == "Transpose" and list(attribute(turned, "perm", [])) == [0, 2, 1]:
        return str(turned.input[0])
    return graph.op("Transpose", output, perm=[0, 2, 1])


