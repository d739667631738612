"""The seam between the detector and an inference runtime."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .letterbox import letterbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from edge.frame import Image

    from .bundle import InputSpec
    from .letterbox import Placement


@dataclass(frozen=True, slots=True)
class RawDetections:
    """The contract graph's outputs for a batch of B frames and K slots.

    `boxes` float32 (B, K, 4) xyxy in pixels of the network input; `scores` float32 (B, K), 0 marks
    an unused slot; `labels` int32 (B, K).
    """

    boxes: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        slots = self.scores.shape
        if self.boxes.shape != (*slots, 4) or self.labels.shape != slots:
            raise ValueError(
                f"RawDetections: expected boxes (B, K, 4), scores and labels (B, K), got "
                f"{self.boxes.shape}, {self.scores.shape}, {self.labels.shape}"
            )


def nobody() -> None:
    """Is told, where nobody needs to know."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A batch that a runtime has begun."""

    outputs: Callable[[], RawDetections]
    """Waits for them; to be called once, by the thread that began the batch."""
    is_done: Callable[[], bool] = lambda: True
    """Whether it is time to call `outputs`: always, where nobody tells when they are there."""


class Runtime(ABC):
    """Runs one contract graph: opened, used and closed by one thread.

    A runtime implements `_open`, `_infer` and `_close`; what goes in is checked here, once for all.
    """

    name: str
    max_batch: int = 1
    """Largest batch worth giving it (a CPU gains nothing from more than one)."""
    in_flight: int = 1
    """Batches worth having under way at once: more than one where one can be run while another is
    uploaded, or beside it."""

    def __init__(self, input_shape: tuple[int, int, int]) -> None:
        self.input_shape = input_shape
        """(H, W, 3) of one frame of the network input."""

    def open(self) -> None:
        """Load the graph; raises `RuntimeFailure` or `MissingPackage`."""
        self._open()

    def infer(self, frames: npt.NDArray[np.uint8]) -> RawDetections:
        """Run the graph on uint8 (B, H, W, 3) letterboxed BGR frames."""
        self._check(frames)
        return self._infer(frames)

    def begin(self, frames: npt.NDArray[np.uint8], done: Callable[[], None] = nobody) -> Pending:
        """Begin what `infer` does; `done` is called when its outputs are there, on any thread.

        At most `in_flight` may be under way, and they are waited for in their order. A runtime that
        does nothing meanwhile begins when it is waited for.
        """
        del done
        self._check(frames)
        return Pending(lambda: self._infer(frames))

    def _check(self, frames: npt.NDArray[np.uint8]) -> None:
        if frames.dtype != np.uint8 or frames.shape[1:] != self.input_shape:
            raise ValueError(
                f"{self.name}: input frames: expected uint8 (B, {self.input_shape}), "
                f"got {frames.dtype} {frames.shape}"
            )

    def infer_each(self, frames: Iterable[Image]) -> Iterator[RawDetections]:
        """Run letterboxed frames, uint8 (H, W, 3) each, one by one; give their outputs in order.

        As many are under way at once as the runtime takes: several may be asked for before the
        first is given.
        """
        under_way: deque[Pending] = deque()
        for frame in frames:
            under_way.append(self.begin(frame[np.newaxis]))
            if len(under_way) >= self.in_flight:
                yield under_way.popleft().outputs()
        while under_way:
            yield under_way.popleft().outputs()

    def prepare(self, image: Image, spec: InputSpec) -> tuple[Image, Placement]:
        """Bring a frame to what `submit` takes, on any thread, whether open or not.

        On a CPU that is the letterbox; a runtime that letterboxes itself keeps the frame whole.
        """
        return letterbox(image, spec)

    def submit(
        self, images: Sequence[Image], spec: InputSpec, done: Callable[[], None] = nobody
    ) -> Pending:
        """Begin a batch of prepared images; as `begin` otherwise."""
        # An image of the input's size is its own letterbox; others were prepared for a runtime
        # that letterboxes itself, which this one replaced.
        ready = [
            image if image.shape == self.input_shape else letterbox(image, spec)[0]
            for image in images
        ]
        frames = ready[0][np.newaxis] if len(ready) == 1 else np.stack(ready)
        return self.begin(frames, done)

    def close(self) -> None:
        """Release everything; may be called twice."""
        self._close()

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @abstractmethod
    def describe(self) -> str:
        """Say in a few words what runs where, for logs and the status message."""

    @abstractmethod
    def _open(self) -> None: ...

    @abstractmethod
    def _infer(self, frames: npt.NDArray[np.uint8]) -> RawDetections: ...

    @abstractmethod
    def _close(self) -> None: ...
