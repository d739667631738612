"""In which range pixels were in training, by the batch normalisation behind the first convolution.

That holds the variance of each filter's output over the training images. Photographs change slowly,
so that it is the pixels' own variance times the square of the filter's sum, for filters that have
one, whatever they were trained to: 0.02 to 0.1 of pixels in 0..1, and 20 times that of pixels that
were divided by ImageNet's deviation. Fused into the convolution it is lost.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from onnx import numpy_helper

from engines.graph import attribute, constants

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

    from engines.reading.model import Network

_SUMS = 0.3
"""Share of a filter's weights that must not cancel out."""
_OF_SHARES, _OF_NORMALISED = 0.12, 0.3
_VARIANCE = 4


def saw_normalised(network: Network) -> bool | None:
    """Return whether training pixels were normalised, not in 0..1; None where that is not told."""
    graph = network.source.model.graph
    first = next((n for n in graph.node if n.op_type == "Conv" and network.image in n.input), None)
    if first is None:
        return None
    behind = [node for node in graph.node if first.output[0] in node.input]
    if [node.op_type for node in behind] != ["BatchNormalization"]:
        return None
    weights = _constant(graph, first.input[1])
    variance = _constant(graph, behind[0].input[_VARIANCE])
    # Untrained, all are 1.
    if weights is None or variance is None or not np.ptp(variance):
        return None
    sums, sizes = weights.sum((1, 2, 3)), np.abs(weights).sum((1, 2, 3))
    telling = np.abs(sums) > _SUMS * sizes
    if not telling.any():
        return None
    # Edges only add to it.
    seen = float((variance[telling] / sums[telling] ** 2).min())
    if _OF_SHARES < seen < _OF_NORMALISED:
        return None
    return seen > _OF_SHARES


def _constant(graph: onnx.GraphProto, name: str) -> npt.NDArray[np.float32] | None:
    """Return an initializer's values, or a Constant node's: Paddle2ONNX writes weights as such."""
    tensor = constants(graph).get(name)
    for node in graph.node:
        if node.op_type == "Constant" and name in node.output:
            tensor = attribute(node, "value")
    return None if tensor is None else numpy_helper.to_array(tensor).astype(np.float32)
