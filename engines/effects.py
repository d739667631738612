"""What each layer in 8 bits does to the candidates for detection, all others being float.

These errors are as good as independent of one another, so their squares add up: what is measured
layer by layer tells what any choice of layers will do. Local noise does not tell that: it does not
know what the rest of the network makes of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.observe import activations
from engines.evaluation.accuracy import THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import onnx

    from edge.frame import Image

FLOOR = THRESHOLD / 2
"""From this score on a candidate counts: what is below can hardly become a detection."""


def effects(
    graph: onnx.ModelProto,
    alone: Iterable[tuple[str, onnx.ModelProto]],
    frames: Sequence[Image],
    done: Callable[[int], None],
) -> dict[str, float]:
    """Return each layer's mean squared change of the scores that a float contract graph gives.

    `alone` yields a layer's name and the graph with that layer in 8 bits; `frames` are letterboxed,
    uint8 (H, W, 3) BGR each. Only candidates that count in float are looked at, before NMS.
    """
    name = candidates_of(graph)
    reference = scores_of(graph, name, frames)
    heard = reference >= min(FLOOR, float(reference.max()))
    found = {}
    for number, (layer, changed) in enumerate(alone):
        difference = (scores_of(changed, name, frames) - reference)[heard]
        found[layer] = float(np.mean(np.square(difference, dtype=np.float64)))
        done(number + 1)
    return found


def candidates_of(graph: onnx.ModelProto) -> str:
    """Return the scores of all candidates: what the contract's own TopK, the last one, reads."""
    return str([node.input[0] for node in graph.graph.node if node.op_type == "TopK"][-1])


def scores_of(
    graph: onnx.ModelProto, name: str, frames: Sequence[Image]
) -> npt.NDArray[np.float32]:
    """Return the candidates' scores on these frames, (frames, candidates)."""
    return np.concatenate([scores for (scores,) in activations(graph, [name], frames)])
