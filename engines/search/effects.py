"""What each layer in 8 bits does to the candidates for detection, all others being float.

These errors are as good as independent of one another, so their squares add up: what is measured
layer by layer tells what any choice of layers will do. Local noise does not tell that: it does not
know what the rest of the network makes of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from calibration.observe import activations
from engines.evaluation.accuracy import THRESHOLD
from engines.graph import producers, upwards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import onnx
    from typing_extensions import Self

    from edge.frame import Image

_COMPUTES = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "RoiAlign"})
"""What a score comes from: no TopK before these picked it."""
FLOOR = THRESHOLD / 2
"""From this score on a candidate counts: what is below can hardly become a detection."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What a float contract graph makes of the candidates, before NMS, on some frames."""

    name: str
    """The tensor of the candidates' scores."""
    frames: Sequence[Image]
    """Letterboxed, uint8 (H, W, 3) BGR each."""
    reference: npt.NDArray[np.float32]
    """(frames, candidates)."""
    ranked: bool = False
    """The candidates come in any order: scores are sorted, and a rank is what is compared."""

    @classmethod
    def of(cls, graph: onnx.ModelProto, frames: Sequence[Image]) -> Self:
        """Run the graph on the frames."""
        name = candidates_of(graph)
        return cls(name, frames, scores_of(graph, name, frames), _unordered(graph, name))

    @property
    def heard(self) -> npt.NDArray[np.bool_]:
        """Which candidates count, (frames, candidates)."""
        return np.asarray(self.reference >= FLOOR, np.bool_)

    def spread(self, count: int) -> Self:
        """Return so many of the frames, or all if there are less, of those that show something."""
        showing = np.flatnonzero(self.heard.any(axis=1))
        showing = showing if len(showing) else np.arange(len(self.frames))
        return self.at(
            showing[np.unique(np.linspace(0, len(showing) - 1, count).round().astype(int))]
        )

    def at(self, places: npt.NDArray[np.intp]) -> Self:
        """Return these of the frames."""
        frames = [self.frames[place] for place in places]
        return replace(self, frames=frames, reference=self.reference[places])


def effects(
    scores: Scores, alone: Iterable[tuple[str, onnx.ModelProto]], done: Callable[[int], None]
) -> dict[str, float]:
    """Return each layer's mean squared change of the scores that the float graph gives.

    `alone` yields a layer's name and the graph with that layer in 8 bits.
    """
    heard = scores.reference >= min(FLOOR, float(scores.reference.max()))
    found = {}
    for number, (layer, changed) in enumerate(alone):
        change = scores_of(changed, scores.name, scores.frames) - scores.reference
        found[layer] = float(np.mean(np.square(change[heard], dtype=np.float64)))
        done(number + 1)
    return found


def affordable(work: float, multiplications: float, frames: tuple[int, int]) -> int:
    """Return how many frames to look at for about so much `work`, of so much for each.

    At least and at most `frames`.
    """
    return int(min(max(work / max(multiplications, 1.0), frames[0]), frames[1]))


def candidates_of(graph: onnx.ModelProto) -> str:
    """Return the scores of all candidates: what the contract's own TopK, the last one, reads.

    Where a network ends in one of its own, what that one reads: behind it stand ranks, and at a
    rank there may be another candidate in 8 bits. But where a network computes on what it picked,
    the queries of a transformer, they come in any order, and ranks are what can be compared.
    """
    made_by = producers(graph.graph)
    last = name = str([n.input[0] for n in graph.graph.node if n.op_type == "TopK"][-1])
    while (before := _picked(name, made_by, _COMPUTES)) is not None:
        name = str(before.input[0])
    return last if _unordered(graph, name) else name


def _unordered(graph: onnx.ModelProto, name: str) -> bool:
    """Return whether a tensor is computed on what a TopK picked."""
    return _picked(name, producers(graph.graph), frozenset()) is not None


def _picked(
    tensor: str, made_by: Mapping[str, onnx.NodeProto], up_to: frozenset[str]
) -> onnx.NodeProto | None:
    """Return the TopK by which a tensor was picked; None where it was not.

    It is not looked for beyond the operators `up_to`.
    """

    def into(node: onnx.NodeProto) -> Iterable[str]:
        return () if node.op_type in up_to else node.input

    met = upwards(made_by, tensor, into)
    return next((node for node in met if node.op_type == "TopK"), None)


def scores_of(
    graph: onnx.ModelProto, name: str, frames: Sequence[Image]
) -> npt.NDArray[np.float32]:
    """Return the candidates' scores on these frames, (frames, candidates).

    Where the candidates come in any order: sorted.
    """
    values = activations(graph, [name], frames)
    found = np.concatenate([scores.reshape(1, -1) for (scores,) in values])
    return np.sort(found, axis=1) if _unordered(graph, name) else found
