"""Which reader a source is read by, and whether it can ever be opened here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.capture.source import Kind

if TYPE_CHECKING:
    from edge.capture.reader import Reader
    from edge.capture.source import Source


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
