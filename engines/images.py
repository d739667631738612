"""The images that ranges are measured on and the ones that are held out: chosen, not just taken."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edge.detector.letterbox import letterbox
from engines.errors import ImagesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edge.detector.bundle import InputSpec
    from edge.frame import Image

    Progress = Callable[[str, int, int], None]

IMAGES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
VIDEOS = {".avi", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".ts", ".webm"}
FEWEST = 8
"""Different images below which ranges are a guess."""
_LOOKED_AT = 288
_WANTED = 192
_HELD_OUT_OF = 3
"""One of so many is held out: at most 64 of 192."""
_THUMB = (32, 32)
_SAME_GREY = 12
"""Two frames are the same if no cell of their thumbnails differs by more grey levels."""

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Selection:
    """Letterboxed frames, uint8 (H, W, 3) BGR each: to calibrate on, and never seen by it."""

    calibration: list[Image]
    held_out: list[Image]
    looked_at: int
    duplicates: int
    unreadable: list[str]

    def summary(self) -> dict[str, int]:
        """Return what the passport says of it."""
        return {
            "looked_at": self.looked_at,
            "near_duplicates": self.duplicates,
            "unreadable": len(self.unreadable),
            "calibrated_on": len(self.calibration),
            "held_out": len(self.held_out),
        }


@dataclass
class _Pile:
    """Different frames, as they come."""

    frames: list[Image] = field(default_factory=list)
    thumbs: list[npt.NDArray[np.int16]] = field(default_factory=list)
    looked_at: int = 0


def select(paths: Sequence[Path], spec: InputSpec, progress: Progress) -> Selection:
    """Read folders, images and videos; return different frames, spread evenly over all of them.

    The same files give the same frames. Raises `ImagesError` where nothing can be read, or where
    less than `FEWEST` frames differ.
    """
    images, videos = _sources(paths)
    watched = _spread(videos, _LOOKED_AT)
    share = max(1, _LOOKED_AT // (len(watched) + bool(images)))
    pile, unreadable = _Pile(), []
    for number, video in enumerate(watched):
        progress(f"reading {video.name}", number, len(watched))
        before = pile.looked_at
        _look(pile, _video_frames(video, share), spec)
        if pile.looked_at == before:
            unreadable.append(str(video))
            _log.warning("%s: not a video that OpenCV can decode; left out", video)
    chosen = _spread(images, max(share, _LOOKED_AT - pile.looked_at))
    for number, path in enumerate(chosen):
        progress("reading images", number, len(chosen))
        image = _read(path)
        if image is None:
            unreadable.append(str(path))
            _log.warning("%s: not an image that OpenCV can read; left out", path)
        else:
            _look(pile, [image], spec)
    _enough(pile, unreadable, paths)
    frames = _spread(pile.frames, _WANTED)
    return Selection(
        calibration=[f for i, f in enumerate(frames) if i % _HELD_OUT_OF != _HELD_OUT_OF - 1],
        held_out=frames[_HELD_OUT_OF - 1 :: _HELD_OUT_OF],
        looked_at=pile.looked_at,
        duplicates=pile.looked_at - len(pile.frames),
        unreadable=unreadable,
    )


def _sources(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Return all images and all videos that the paths name or hold."""
    images: list[Path] = []
    videos: list[Path] = []
    for path in paths:
        if not path.exists():
            raise ImagesError(
                f"images {path}: no such file or folder", "give a folder of photos, or a video"
            )
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        images += [file for file in inside if file.suffix.lower() in IMAGES]
        videos += [file for file in inside if file.suffix.lower() in VIDEOS]
    if not images and not videos:
        raise ImagesError(
            f"images {', '.join(map(str, paths))}: expected images or videos, found none",
            f"known are {' '.join(sorted(IMAGES | VIDEOS))}",
        )
    return images, videos


def _spread(items: Sequence[_T], count: int) -> list[_T]:
    """Return `count` items, evenly spaced from first to last, or all if there are less."""
    if len(items) <= count:
        return list(items)
    return [items[i] for i in np.linspace(0, len(items) - 1, count).round().astype(int)]


def _read(path: Path) -> Image | None:
    import cv2

    if not path.is_file():  # a pipe would be waited for
        return None
    try:
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    except cv2.error:  # a size that OpenCV refuses to hold
        return None
    return None if image is None else np.asarray(image, np.uint8)


def _video_frames(path: Path, count: int) -> Iterator[Image]:
    """Yield `count` frames at most, evenly spaced; none where it cannot be decoded."""
    import cv2

    video = cv2.VideoCapture(str(path))
    try:
        length = video.get(cv2.CAP_PROP_FRAME_COUNT)
        if length <= 0:  # a recording that was cut off, or went through a pipe, does not say
            length = _counted(path)
        spacing = max(1.0, length / count)
        number = given = 0
        while given < count and video.grab():
            if number >= given * spacing:
                read, image = video.retrieve()
                if read:
                    given += 1
                    yield np.asarray(image, np.uint8)
            number += 1
    finally:
        video.release()


def _counted(path: Path) -> int:
    """Return how many frames a video has, by going through it."""
    import cv2

    video, count = cv2.VideoCapture(str(path)), 0
    try:
        while video.grab():
            count += 1
    finally:
        video.release()
    return count


def _look(pile: _Pile, frames: Iterable[Image], spec: InputSpec) -> None:
    """Letterbox each frame and keep it if it differs from all before."""
    import cv2

    for frame in frames:
        pile.looked_at += 1
        boxed, _ = letterbox(frame, spec)
        small = cv2.resize(boxed, _THUMB, interpolation=cv2.INTER_AREA)
        thumb = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.int16)
        # The largest difference, not the mean: one person walking through a still shop counts.
        if all(np.abs(thumb - other).max() > _SAME_GREY for other in pile.thumbs):
            pile.thumbs.append(thumb)
            pile.frames.append(boxed)


def _enough(pile: _Pile, unreadable: list[str], paths: Sequence[Path]) -> None:
    given = ", ".join(map(str, paths))
    if not pile.looked_at:
        raise ImagesError(
            f"images {given}: none of {len(unreadable)} files can be read as an image or a video, "
            f"first {unreadable[0]}",
            "give JPEG or PNG; convert a video with: ffmpeg -i FILE -c:v libx264 video.mp4",
        )
    if len(pile.frames) < FEWEST:
        raise ImagesError(
            f"images {given}: expected at least {FEWEST} different images, found "
            f"{len(pile.frames)} ({pile.looked_at} read, near-duplicates left out, "
            f"{len(unreadable)} unreadable): INT8 ranges measured on fewer do not hold",
            "give 100 or more, from the cameras that will use the model",
        )
