"""DetectNet_v2, as NVIDIA's TAO exports it: PeopleNet, TrafficCamNet and what is trained from them.

Two outputs on one grid: coverage (B, labels, h, w), out of a sigmoid, and boxes (B, 4 * labels, h,
w), a box per label and cell: the distances of its left, top, right and bottom from the point half
a pixel inside the cell's first corner, in units of 35 pixels (TAO's `BboxObjective`). Trained on
RGB in 0..1, resized without bars. TAO's own scripts cluster; NMS is DeepStream's way.
"""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from engines.families.evidence import are_shares
from engines.families.family import Candidates, Close, Family, Preprocessing, Recognised
from engines.families.probe import values_of
from engines.graph import producers

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_SIDES = 4
_RANK = 4
_UNIT = 35.0
_OFFSET = 0.5
_NAMES = ("_cov", "_bbox")
"""Of `output_cov/Sigmoid`, `output_bbox/BiasAdd`; DeepStream's own detector has `conv2d_cov`."""


class DetectNet(Family):
    """See the module."""

    name = "detectnet-v2"
    models = "DetectNet_v2 by TAO, as PeopleNet: coverage (1, labels, h, w), boxes of 4 * labels"
    preprocessing = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    iou = 0.5

    def recognise(self, network: Network) -> Recognised | str:
        """Take a sigmoid and four times as many channels on the same grid."""
        found = _maps(network)
        if found is None:
            return (
                f"outputs {network.outputs}, expected (1, labels, h, w) and (1, 4 * labels, h, w)"
            )
        (seen,) = values_of(network, found[:1], self.preprocessing)
        if producers(network.model.graph)[found[0]].op_type != "Sigmoid" or not are_shares(seen):
            return Close(f"output {found[0]!r} is no coverage: no sigmoid makes it")
        _, labels, rows, columns = seen.shape
        evidence = (
            f"outputs {found[0]!r}, a sigmoid of {labels} labels, and {found[1]!r}, {_SIDES} * "
            f"{labels} distances, are of the same {columns} x {rows} cells"
        )
        named = all(name in output for name, output in zip(_NAMES, found, strict=True))
        doubts = () if named else ("its outputs are not called output_cov and output_bbox",)
        return Recognised(labels, (evidence,), doubts)

    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Score every label of every cell; decode the best."""
        coverage, boxes = self.accepted(network, _maps(network) or "its outputs are others")
        labels, rows, columns = (int(n) for n in network.outputs[coverage][1:])
        count = rows * columns
        split = graph.reshape(boxes, (0, labels, _SIDES, count))
        sides = graph.op("Transpose", split, perm=[0, 1, 3, 2])
        flat = graph.reshape(sides, (0, labels * count, _SIDES))
        points = np.tile(_points(network.size_wh, (columns, rows)), (labels, 2))

        def decode(index: str) -> str:
            outward = graph.constant(np.array([-_UNIT, -_UNIT, _UNIT, _UNIT]))
            far = graph.op("Mul", graph.gather_rows(flat, index), outward)
            return graph.op("Add", far, graph.op("Gather", graph.constant(points), index, axis=0))

        def label(index: str) -> str:
            return graph.op("Div", index, graph.constant(count, np.int64))

        score = graph.reshape(coverage, (0, labels * count))
        return Candidates(labels * count, score, decode, label)


def _points(size_wh: tuple[int, int], cells: tuple[int, int]) -> npt.NDArray[np.float64]:
    """Return x and y, (N, 2), in pixels, that the distances are from: row by row."""
    y, x = np.mgrid[: cells[1], : cells[0]]
    steps = np.array(size_wh) / cells
    return np.stack([x.ravel(), y.ravel()], axis=1) * steps + _OFFSET


def _maps(network: Network) -> tuple[str, str] | None:
    """Return the names of coverage and boxes where two outputs have their shapes."""
    for coverage, boxes in permutations(network.outputs, 2):
        one, other = network.outputs[coverage], network.outputs[boxes]
        fixed = all(isinstance(n, int) for n in (*one[1:], *other[1:]))
        if len(network.outputs) != 2 or len(one) != _RANK or len(other) != _RANK or not fixed:  # noqa: PLR2004
            return None
        if (int(one[1]) * _SIDES, *one[2:]) == other[1:]:
            return coverage, boxes
    return None
