"""The seam between a camera and what its pictures come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from edge.capture.source import Kind, Source

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


def check(source: Source) -> None:
    """Raise `SourceError` or `MissingPackage` if a source can never be opened on this machine.

    A recording must be there and be readable. A device or a network camera may come later: of it
    only what it needs here is looked for.
    """
    if source.kind is Kind.IMAGES:
        from edge.capture.images import check_folder

        check_folder(source)
    elif source.kind is Kind.SYNTHETIC:
        from edge.capture.opencv import import_cv2

        import_cv2()
    else:
        from edge.capture.video import check_video

        check_video(source)


def open_reader(source: Source) -> Reader:
    """Open a source; raises `CaptureError` when that fails (now), `SourceError` when it never can.

    Returns within the time-outs of `edge.capture.video`, unless OpenCV disregards them.
    """
    if source.kind is Kind.IMAGES:
        from edge.capture.images import ImagesReader

        return ImagesReader(source)
    if source.kind is Kind.SYNTHETIC:
        from edge.capture.synthetic import SyntheticReader

        return SyntheticReader(source)
    from edge.capture.video import VideoReader

    return VideoReader(source)
