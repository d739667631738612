"""A frame, when and where it was taken, and why it may show nothing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from datetime import datetime

Image = npt.NDArray[np.uint8]
"""uint8 (H, W, 3), BGR."""


class Blindness(str, Enum):
    """Why a camera cannot see. Never an empty aisle: a blind camera's aisles are *unknown*."""

    STARTING = "starting"
    STALLED = "stalled"
    DARK = "dark"
    BLOWN_OUT = "blown_out"
    FROZEN = "frozen"
    BLURRED = "blurred"
    COVERED = "covered"
    # These two are about one aisle of a camera that moves; the camera itself sees.
    OUT_OF_VIEW = "out_of_view"
    AISLE_UNKNOWN = "aisle_unknown"


@dataclass(frozen=True, slots=True)
class FrameStamp:
    """Where and when a frame was taken: what survives of it once its pixels are let go.

    `number` counts the camera's frames since it was opened, dropped ones included;
    `captured_at` is UTC wall time, `monotonic_s` the monotonic clock, both at the grab;
    `resolution_wh` is in pixels of the frame.
    """

    camera: str
    number: int
    captured_at: datetime
    monotonic_s: float
    resolution_wh: tuple[int, int]
    blindness: Blindness | None = None
    aisle: str | None = None
    """The aisle that a moving camera looks at; None: nobody can tell, or it does not move."""

    def __post_init__(self) -> None:
        if self.captured_at.tzinfo is None:
            raise ValueError("FrameStamp.captured_at: expected an aware datetime, got a naive one")
        if min(self.resolution_wh) < 1:
            raise ValueError(f"FrameStamp.resolution_wh: expected >= 1, got {self.resolution_wh}")


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of one camera: uint8 (H, W, 3), BGR, and its stamp."""

    stamp: FrameStamp
    image: Image

    def __post_init__(self) -> None:
        shape, dtype = self.image.shape, self.image.dtype
        if dtype != np.uint8 or len(shape) != 3 or shape[2] != 3:  # noqa: PLR2004
            raise ValueError(f"Frame.image: expected uint8 (H, W, 3), got {dtype} {shape}")
        if (shape[1], shape[0]) != self.stamp.resolution_wh:
            raise ValueError(
                f"Frame.image: expected {self.stamp.resolution_wh} (w, h), got {shape[1::-1]}"
            )
