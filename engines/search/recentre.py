"""Takes off what 8 bits do to all scores alike, at the last convolutions.

The noise of many layers is no noise behind a SiLU or a maximum: scores fall where objects are and
rise where none is. The biases of the last convolutions, which stay float32, bring them back. What a
bias does to the scores is measured on the float graph, once; then it takes one run of an encoding
to solve, by least squares, for the biases that bring its scores nearest to float's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

from engines.search.effects import FLOOR, candidates_of, scores_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edge.frame import Image

_STEP = 0.1
"""Of a bias: a logit's, in most networks."""
_SMALLEST = 1e-3
"""Change of a score per step of a bias below which the bias is no score's: a box's, for example."""
_TINY = 1e-12
_RIDGE = 0.01
"""Of the mean response: no large bias for a small gain."""


class Recentre:
    """Knows what the biases of a float contract graph's `last` convolutions do to its scores.

    `frames` are letterboxed, uint8 (H, W, 3) BGR each; INT8 must not be judged on them.
    """

    def __init__(
        self,
        graph: onnx.ModelProto,
        last: Sequence[str],
        frames: Sequence[Image],
        done: Callable[[int], None],
    ) -> None:
        self._name = candidates_of(graph)
        self._frames = frames
        self._reference = scores_of(graph, self._name, frames)
        self._responses: dict[str, npt.NDArray[np.float32]] = {}
        heard = self._reference >= FLOOR
        for number, output in enumerate(last):
            change = scores_of(shifted(graph, {output: _STEP}), self._name, frames)
            change -= self._reference
            if np.abs(change[heard]).max(initial=0) > _SMALLEST:
                self._responses[output] = change / np.float32(_STEP)
            done(number + 1)

    def __call__(self, graph: onnx.ModelProto) -> onnx.ModelProto:
        """Return an encoding with the biases at which its scores are nearest to float's."""
        if not self._responses:
            return graph
        scores = scores_of(graph, self._name, self._frames)
        heard = np.maximum(scores, self._reference) >= FLOOR
        wrong = (self._reference - scores).astype(np.float64)
        changes = np.stack([*self._responses.values()], -1).astype(np.float64)
        fitted, others = heard.copy(), heard.copy()
        fitted[1::2] = others[::2] = False
        left = wrong[others] - changes[others] @ _solved(changes[fitted], wrong[fitted])
        if np.sum(left**2) >= np.sum(wrong[others] ** 2):
            return graph  # what half of the frames ask for does not help the other half
        biases = _solved(changes[heard], wrong[heard])
        return shifted(graph, dict(zip(self._responses, biases.tolist(), strict=True)))


def _solved(
    changes: npt.NDArray[np.float64], wrong: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Return how much of each response, (N, R), makes up for what is wrong, (N,)."""
    products = changes.T @ changes
    ridge = max(float(np.trace(products)), _TINY) / len(products) * _RIDGE * np.eye(len(products))
    return np.asarray(np.linalg.solve(products + ridge, changes.T @ wrong), np.float64)


def shifted(graph: onnx.ModelProto, by: Mapping[str, float]) -> onnx.ModelProto:
    """Return a graph with numbers added to all biases of the convolutions that make these."""
    changed = onnx.ModelProto()
    changed.CopyFrom(graph)
    constants = {tensor.name: tensor for tensor in changed.graph.initializer}
    for node in changed.graph.node:
        if node.output[0] not in by or node.input[1] not in constants:
            continue
        channels = constants[node.input[1]].dims[0]
        name, bias = node.output[0], np.zeros(channels, np.float32)
        if len(node.input) > 2:  # noqa: PLR2004
            name, bias = node.input[2], numpy_helper.to_array(constants[node.input[2]])
        moved = (bias + by[node.output[0]]).astype(np.float32)
        del node.input[2:]
        node.input.append(f"{name}/recentred")
        changed.graph.initializer.append(numpy_helper.from_array(moved, node.input[2]))
    return changed
