"""The seam between a camera and what its pictures come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.frame import Image


class EndOfSource(Exception):  # noqa: N818 - not an error: a recording was read to its end
    """There are no more pictures, and there will be none."""


class Reader(ABC):
    """An open source: opened, used and closed by one thread.

    `grab` goes to the next picture without decoding it into an array, so that pictures nobody
    looks at cost little; `retrieve` gives the picture that was grabbed.
    """

    @abstractmethod
    def grab(self) -> float:
        """Go to the next picture and return its media time in seconds, which never goes back.

        Raises `CaptureError` when the source fails, `EndOfSource` after a recording's last picture.
        """

    @abstractmethod
    def retrieve(self) -> Image:
        """Return the grabbed picture, uint8 (H, W, 3) BGR, an array of the caller's own.

        Raises `CaptureError` when it cannot be decoded.
        """

    @abstractmethod
    def close(self) -> None:
        """Release the source."""
