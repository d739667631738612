"""A folder of pictures as a source."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.capture.opencv import import_cv2
from edge.capture.reader import EndOfSource, Reader
from edge.errors import CaptureError, SourceError

if TYPE_CHECKING:
    from edge.capture.source import Source
    from edge.frame import Image

log = logging.getLogger(__name__)

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


def list_images(folder: Path) -> list[Path]:
    """Return the pictures of a folder in the order of their names; raises `SourceError`."""
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    except OSError as error:
        raise SourceError(
            f"images {folder}: {error.strerror}", "give an existing, readable folder of pictures"
        ) from error
    if not paths:
        raise SourceError(
            f"images {folder}: holds no picture", f"pictures end in {', '.join(SUFFIXES)}"
        )
    return paths


def check_folder(source: Source) -> None:
    """Raise `SourceError` unless the folder holds a picture that can be read."""
    import_cv2()
    paths = list_images(Path(source.target))
    if all(_read(path) is None for path in paths):
        raise SourceError(
            f"images {source.target}: none of its {len(paths)} pictures can be read",
            "check that they are whole and that this user may read them",
        )


class ImagesReader(Reader):
    """Reads a folder's pictures by name; one that cannot be read is named, counted and skipped.

    Media time is the picture's number over `fps`; without one every picture is a second of its own,
    so that a budget of at least one frame per second looks at each.
    """

    def __init__(self, source: Source) -> None:
        import_cv2()
        self._source = source
        self._paths = list_images(Path(source.target))
        self._interval_s = 1 / (source.fps or 1.0)
        self._next = 0
        self._good = 0
        self.skipped: set[Path] = set()
        self._image: Image | None = None

    def grab(self) -> float:
        """Read the next picture that can be read."""
        while True:
            if self._next and self._next % len(self._paths) == 0:
                self._turn_over()
            path = self._paths[self._next % len(self._paths)]
            self._next += 1
            self._image = _read(path)
            if self._image is not None:
                self._good += 1
                return (self._good - 1) * self._interval_s
            if path not in self.skipped:
                self.skipped.add(path)
                log.warning(
                    "%s: cannot be read as a picture, skipped (%d so far); remove or replace it",
                    path,
                    len(self.skipped),
                )

    def retrieve(self) -> Image:
        """Return the picture read by `grab`."""
        image, self._image = self._image, None
        if image is None:
            raise CaptureError(f"{self._source}: no picture was grabbed")
        return image

    def close(self) -> None:
        """Let go of the picture."""
        self._image = None

    def _turn_over(self) -> None:
        if not self._source.loop:
            raise EndOfSource
        if len(self.skipped) == len(self._paths):
            raise CaptureError(
                f"{self._source}: none of its {len(self._paths)} pictures can be read any more",
                "check the folder",
            )


def _read(path: Path) -> Image | None:
    cv2 = import_cv2()
    try:
        # Not imread: it writes to stderr, and it cannot tell "no permission" from "no picture".
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        log.warning("%s: %s", path, error.strerror)
        return None
    if not len(data):
        return None
    image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return None if image is None else np.asarray(image, np.uint8)
