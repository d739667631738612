"""A folder of pictures as a source."""

from __future__ import annotations

import logging
import stat
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

_Mark = tuple[int, int, int]

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
    if all(isinstance(_read(path), str) for path in paths):
        raise SourceError(
            f"images {source.target}: none of its {len(paths)} pictures can be read",
            "check that they are whole and that this user may read them",
        )


class ImagesReader(Reader):
    """Reads a folder's pictures by name; one that cannot be read is named, counted and skipped.

    In a loop each round has what the folder then holds.

    Media time is the picture's number over `fps`; without one every picture is a second of its own,
    so that a budget of at least one frame per second looks at each.
    """

    def __init__(self, source: Source) -> None:
        import_cv2()
        self._source = source
        self._paths = list_images(Path(source.target))
        self._interval_s = 1 / (source.fps or 1.0)
        self._next = 0
        self._good = self._good_before = 0
        self.skipped: dict[Path, _Mark | None] = {}
        self._image: Image | None = None

    def grab(self) -> float:
        """Read the next picture that can be read."""
        while True:
            if self._next == len(self._paths):
                self._turn_over()
            path = self._paths[self._next]
            self._next += 1
            mark = _mark_of(path)
            if path in self.skipped and self.skipped[path] == mark:
                continue  # its decoder may write to stderr, each time
            read = _read(path)
            if not isinstance(read, str):
                self._image = read
                self._good += 1
                return (self._good - 1) * self._interval_s
            known = path in self.skipped
            self.skipped[path] = mark
            if not known:
                log.warning(
                    "%s: %s, skipped (%d so far); remove or replace it",
                    path,
                    read,
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
        if self._good == self._good_before:
            raise CaptureError(
                f"{self._source}: none of its {len(self._paths)} pictures can be read any more",
                "check the folder",
            )
        self._good_before = self._good
        self._paths, self._next = list_images(Path(self._source.target)), 0


def _mark_of(path: Path) -> _Mark | None:
    """Return what tells a file from one that has taken its place; None: it cannot be looked at."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> Image | str:
    """Return a picture, or in a few words why there is none."""
    cv2 = import_cv2()
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would never end
            return "is no file"
        # Not imread: it writes to stderr, and it cannot tell "no permission" from "no picture".
        data = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        return error.strerror or str(error)
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR) if len(data) else None
    except cv2.error:  # so it says of one that is too large for memory
        image = None
    return "cannot be read as a picture" if image is None else np.asarray(image, np.uint8)
