"""What a model family is: how it is recognised, fed and decoded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from engines.errors import ModelError
from engines.nms import IOU

if TYPE_CHECKING:
    from collections.abc import Callable

    from engines.graph import GraphBuilder
    from engines.reading.model import Network

_Found = TypeVar("_Found")


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of RGB in 0..1."""
IMAGENET_BGR_MEAN, IMAGENET_BGR_STD = (103.53, 116.28, 123.675), (57.375, 57.12, 58.395)
"""Of BGR in 0..255."""


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How these models were fed in training: (pixel * `scale` - `mean`) / `std` in `colours`."""

    letterbox: Literal["centered", "top-left", "stretch"]
    colours: Literal["BGR", "RGB"]
    scale: float = 1.0
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the order of `colours`, after `scale`."""
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    pad: int = 114

    def __post_init__(self) -> None:
        if self.scale <= 0 or min(self.std) <= 0:
            raise ValueError(f"Preprocessing: expected scale and std > 0, got {self}")


IMAGENET_STRETCHED = Preprocessing(
    letterbox="stretch", colours="RGB", scale=1 / 255, mean=IMAGENET_MEAN, std=IMAGENET_STD
)
"""As DETR's and most of PaddleDetection's models are fed."""


@dataclass(frozen=True, slots=True)
class Recognised:
    """That a network is of a family, and what says so.

    With `doubts` it is taken only where the user names the family.
    """

    label_count: int
    evidence: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    """What the graph itself says of how it is fed, where that is not as its family is."""


class Close(str):
    """A reason against a family whose outputs these could be: what they hold is something else."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Candidates:
    """The N candidates of a head: their scores, and how to decode the K best of them.

    `score` is a tensor, float32 (B, N): each candidate's best label's score. `boxes` and `labels`
    append the decoding of the candidates that an index tensor, int64 (B, K), names, and return
    float32 (B, K, 4) xyxy in input pixels and int64 (B, K): only what can win is decoded.
    """

    count: int
    score: str
    boxes: Callable[[str], str]
    labels: Callable[[str], str]


class Family(ABC):
    """One family of models: a file beside this one, and a line in `FAMILIES`."""

    name: str
    """What `--family` calls it."""
    models: str
    """Which models and export that is, for people."""
    preprocessing: Preprocessing
    iou: float | None = IOU
    """IoU above which the models' own scripts suppress by default; None: they have no NMS."""

    @abstractmethod
    def recognise(self, network: Network) -> Recognised | str:
        """Return what says that this is such a network, or in a few words what says it is not.

        A reason that is `Close` is worth reading where no family fits.
        """

    def accepted(self, network: Network, found: _Found | str) -> _Found:
        """Return what `recognise` found, too; `ModelError` where it found a reason against."""
        if isinstance(found, str):
            raise ModelError(
                f"model {network.source.path}: not {self.name}: {found}", "leave --family out"
            )
        return found

    @abstractmethod
    def adapt(self, network: Network, graph: GraphBuilder) -> Candidates:
        """Append the scores to the graph; the network is one that `recognise` accepted."""
