"""Distances as distributions (Generalized Focal Loss, arXiv 2006.04388), decoded late.

Heads of this kind give 4 * R numbers per cell: for each side of the box a softmax over R bins,
whose expectation is the side's distance from the cell's centre in strides. Decoding all N cells
costs as much as the whole NMS; decoding the K best does not. Whether a network's own decoding is
this one is not believed from its structure alone: it is run, and compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.families.family import Preprocessing
from engines.families.grid import corners_and_strides
from engines.families.probe import values_of
from engines.graph import constants, producers, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_SIDES = 4
_SAME_PX = 0.01
_NEAR = 8
"""How many nodes above the expectation its distribution is looked for."""


class Distribution:
    """A tensor, (B, 4 * `bins`, N), that a network decodes to its boxes in the known way."""

    def __init__(
        self, tensor: str, bins: int, size_wh: tuple[int, int], strides: tuple[int, ...]
    ) -> None:
        self.tensor = tensor
        self.bins = bins
        corners, self.steps = corners_and_strides(size_wh, strides)
        self.centres = corners + 0.5

    def decode(self, graph: GraphBuilder, index: str) -> str:
        """Append the decoding of the cells that `index` (B, K) names: xyxy, (B, K, 4), pixels."""
        chosen = graph.gather_columns(self.tensor, index, _SIDES * self.bins)
        spread = graph.reshape(chosen, (0, _SIDES, self.bins, -1))
        shares = graph.op("Softmax", graph.op("Transpose", spread, perm=[0, 3, 1, 2]), axis=3)
        expectation = graph.constant(np.arange(self.bins)[:, None])
        sides = graph.squeeze(graph.op("MatMul", shares, expectation), 3)
        outward = graph.op("Mul", sides, graph.constant([-1, -1, 1, 1]))
        centres = np.vstack([self.centres, self.centres]).T
        centre = graph.op("Gather", graph.constant(centres), index, axis=0)
        step = graph.op("Gather", graph.constant(self.steps.T), index, axis=0)
        return graph.op("Mul", graph.op("Add", centre, outward), step)

    def decode_all(self, raw: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], ...]:
        """Decode (4 * R, N) with numpy: xy and xy of both corners, (2, N) each, pixels."""
        spread = raw.reshape(_SIDES, self.bins, -1)
        shares = np.exp(spread - spread.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        sides = np.einsum("srn,r->sn", shares, np.arange(self.bins, dtype=np.float32))
        return (self.centres - sides[:2]) * self.steps, (self.centres + sides[2:]) * self.steps


def find_distribution(
    network: Network, boxes: str, strides: tuple[int, ...]
) -> Distribution | None:
    """Return what the network provably decodes to `boxes`, cxcywh or xyxy (B, 4, N), or None."""
    graph = network.model.graph
    weights = constants(graph)
    for node in graph.node:
        kernel = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if kernel is None or len(kernel.dims) != 4 or kernel.dims[0] != 1:  # noqa: PLR2004
            continue
        values = numpy_helper.to_array(kernel).ravel()
        if np.array_equal(values, np.arange(len(values))):
            tensor = _above(network.model, node, _SIDES * len(values))
            if tensor is None:
                return None
            found = Distribution(tensor, len(values), network.size_wh, strides)
            return found if _proven(network, found, boxes) else None
    return None


def _above(model: onnx.ModelProto, node: onnx.NodeProto, rows: int) -> str | None:
    """Return the nearest tensor above `node` of shape (B, rows, N)."""
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: shape_of(value) for value in inferred.value_info}
    made_by = producers(model.graph)
    tensor = node.input[0]
    for _ in range(_NEAR):
        shape = shapes.get(tensor, ())
        if len(shape) == 3 and shape[1] == rows:  # noqa: PLR2004
            return str(tensor)
        above = made_by.get(tensor)
        if above is None:
            return None
        tensor = above.input[0]
    return None


def _proven(network: Network, found: Distribution, boxes: str) -> bool:
    """Return whether decoding it here gives the network's own boxes, on a frame of noise."""
    plain = Preprocessing(letterbox="stretch", colours="RGB", scale=1 / 255)
    raw, own = values_of(network, [found.tensor, boxes], plain)
    low, high = found.decode_all(raw[0])
    either = np.vstack([low, high]), np.vstack([(low + high) / 2, high - low])
    return any(np.abs(decoded - own[0]).max() < _SAME_PX for decoded in either)
