"""Devices, streams and video files, through OpenCV: the only file that opens a VideoCapture."""

from __future__ import annotations

import logging
import os
import re
import stat
import threading
import time
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.capture import rtsp
from edge.capture.opencv import import_cv2, require_backend
from edge.capture.reader import EndOfSource, Reader
from edge.capture.source import Kind, Source
from edge.errors import CaptureError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edge.frame import Image

log = logging.getLogger(__name__)

OPEN_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 5.0
DECODE_THREADS = 2
"""One decodes 1080p at 120 fps on a desktop core; each more costs 9 MB at 1080p."""

_BACKENDS = {
    Kind.V4L2: "V4L2",
    Kind.CSI: "GSTREAMER",
    Kind.GST: "GSTREAMER",
    Kind.RTSP: "FFMPEG",
    Kind.FILE: "FFMPEG",
}
_SINK = "videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1 sync=false"
_TRUNCATED = 0.9
_DAMAGED_AT_MOST = 250
"""Pictures in a row that cannot be decoded, before a file counts as over."""
_JUMP_S = 10.0
_JUMP_INTERVALS = 5
"""Where its time jumps ahead by more than both a recording was spliced, and is not waited for."""
_MARGIN_S = 0.2
_OPENING = threading.Lock()
"""OpenCV opens one source after the other with FFmpeg, all cameras of a process in one line: here
they can wait with a time-out, and none gets into that line that would only hold it up."""
_TURN_S = 8.0
_GSTREAMER_TIMEOUTS = (4, 7)
"""The OpenCV release since which its GStreamer backend has time-outs."""


def check_video(source: Source) -> None:
    """Raise `SourceError` or `MissingPackage` if this source can never be opened here."""
    require_backend(_BACKENDS[source.kind], f"source {source}")
    if source.kind is not Kind.FILE:
        return
    path = Path(source.target)
    if not _readable(path):
        raise SourceError(f"video {path}: {_state_of(path)}", "give an existing, readable file")
    try:
        reader = VideoReader(source)
        try:
            reader.grab()
        finally:
            reader.close()
    except _NoTurn:
        return  # so nobody knows yet
    except (CaptureError, EndOfSource) as error:
        raise SourceError(
            f"video {path}: not a video that OpenCV can decode",
            "check that it plays elsewhere and is whole, or convert it to H.264 in MP4",
        ) from error


class VideoReader(Reader):
    """Reads one source through one `cv2.VideoCapture`, with explicit time-outs and few threads."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._cv2 = import_cv2()
        self._backend = require_backend(_BACKENDS[source.kind], f"source {source}")
        self._capture = self._open()
        self._interval_s = 1 / _sane_fps(self._capture.get(self._cv2.CAP_PROP_FPS))
        self._grabbed = 0
        self._said: set[str] = set()
        self._offset_s = 0.0
        self._first_ms = 0.0
        self._time_s = -self._interval_s

    def grab(self) -> float:
        """Go to the next picture; a looping file starts over at its end."""
        began_s = time.monotonic()
        got = self._capture.grab()
        # At its time-out OpenCV hands out what was left in the decoder: a picture long past.
        timed_out = time.monotonic() - began_s > READ_TIMEOUT_S - _MARGIN_S
        if not self._source.recorded and (timed_out or not got):
            what = f"no picture for {READ_TIMEOUT_S:.0f} s" if timed_out else "the stream broke off"
            raise CaptureError(f"{self._source}: {what}")
        if not got and not self._past_damage():
            self._turn_over()
        self._grabbed += 1
        self._time_s = self._media_time_s()
        return self._time_s

    def retrieve(self) -> Image:
        """Decode the grabbed picture into an array of its own."""
        got, image = self._capture.retrieve()
        if not got or image is None:
            raise CaptureError(f"{self._source}: a picture could not be decoded")
        if image.ndim != 3:  # noqa: PLR2004 - some drivers give grey pictures
            image = self._cv2.cvtColor(image, self._cv2.COLOR_GRAY2BGR)
        return np.asarray(image, np.uint8)

    def close(self) -> None:
        """Release the capture."""
        self._capture.release()

    def _open(self) -> Any:  # noqa: ANN401 - cv2.VideoCapture; cv2 is imported late
        cv2, source = self._cv2, self._source
        parameters = _parameters(cv2, _BACKENDS[source.kind])
        if source.kind is Kind.RTSP:
            rtsp.require_answer(source)
        with _turn_to_open(source):
            capture = cv2.VideoCapture(what_to_open(source), self._backend, parameters)
        if not capture.isOpened():
            capture.release()
            raise _cannot_open(source)
        if source.kind is Kind.V4L2:
            _configure(cv2, capture, source)
        return capture

    def _media_time_s(self) -> float:
        """Return the time of the picture in hand, which is always after the one before it."""
        position_s = self._offset_s + self._position_ms() / 1000
        following_s = self._time_s + self._interval_s
        if self._grabbed == 1:
            self._first_ms = self._position_ms()
            return following_s
        gap_s = position_s - following_s
        if self._source.realtime and gap_s > max(_JUMP_S, _JUMP_INTERVALS * self._interval_s):
            self._say_once("its time jumps ahead; it is played on without the gap")
            self._offset_s -= gap_s
            return following_s
        return position_s if position_s > self._time_s else following_s

    def _past_damage(self) -> bool:
        """Go on behind what cannot be decoded of a file; return whether a picture is there.

        OpenCV says the same of one damaged picture as of the end; at the end this takes 2 ms.
        """
        if not any(self._capture.grab() for _ in range(_DAMAGED_AT_MOST)):
            return False
        self._say_once("it is damaged: pictures that cannot be decoded are skipped; replace it")
        return True

    def _say_once(self, what: str) -> None:
        if what not in self._said:
            self._said.add(what)
            log.warning("%s: after %d pictures: %s", self._source, self._grabbed, what)

    def _turn_over(self) -> None:
        """Come back to a file's beginning, or say that it has ended."""
        expected = self._capture.get(self._cv2.CAP_PROP_FRAME_COUNT)
        if 0 < self._grabbed < expected * _TRUNCATED and not self._offset_s:
            log.warning(
                "%s: ended after %d of about %d frames: it is damaged or cut off",
                self._source,
                self._grabbed,
                expected,
            )
        if not self._source.loop:
            raise EndOfSource
        self._offset_s = self._time_s + self._interval_s
        if not self._rewound():
            self._capture.release()
            self._capture = self._open()
            if not self._capture.grab() and not self._past_damage():
                raise CaptureError(f"{self._source}: no picture at its beginning any more")

    def _rewound(self) -> bool:
        """Grab the first picture again; return whether it is, as not every format can go back.

        To open the file again instead scatters 10 to 20 MB over the heap.
        """
        begin = self._cv2.CAP_PROP_POS_FRAMES
        return bool(
            self._capture.set(begin, 0)
            and self._capture.grab()
            and self._position_ms() == self._first_ms
        )

    def _position_ms(self) -> float:
        return float(self._capture.get(self._cv2.CAP_PROP_POS_MSEC))


class _NoTurn(CaptureError):  # noqa: N818 - reads as what happened
    """Another camera is being opened, and it takes long."""


@contextmanager
def _turn_to_open(source: Source) -> Iterator[None]:
    """Wait until OpenCV can open this source; raises `_NoTurn`."""
    if _BACKENDS[source.kind] != "FFMPEG":
        yield
        return
    patience_s = OPEN_TIMEOUT_S + _MARGIN_S if source.recorded else _TURN_S
    if not _OPENING.acquire(timeout=patience_s):
        raise _NoTurn(
            f"{source}: has waited {patience_s:.0f} s for OpenCV to open another camera first",
            "look at the cameras that stand still",
        )
    try:
        yield
    finally:
        _OPENING.release()


def what_to_open(source: Source) -> str:
    """Return what OpenCV is to open: a path, a URL, or a pipeline that ends in an appsink."""
    if source.kind is Kind.CSI:
        rate = Fraction(source.fps or 30).limit_denominator(1001)
        return (
            f"nvarguscamerasrc sensor-id={source.target} ! video/x-raw(memory:NVMM),"
            f"width={source.width or 1920},height={source.height or 1080},"
            f"framerate={rate.numerator}/{rate.denominator} ! "
            f"nvvidconv ! video/x-raw,format=BGRx ! {_SINK}"
        )
    if source.kind is Kind.GST and "appsink" not in source.target:
        return f"{source.target} ! {_SINK}"
    return source.target


def _parameters(cv2: Any, backend: str) -> list[int]:  # noqa: ANN401
    """Return the time-outs and threads that this OpenCV's backend understands.

    One that it does not understand would keep it from opening at all.
    """
    wanted = {
        "CAP_PROP_OPEN_TIMEOUT_MSEC": int(OPEN_TIMEOUT_S * 1000),
        "CAP_PROP_READ_TIMEOUT_MSEC": int(READ_TIMEOUT_S * 1000),
    }
    if backend == "FFMPEG":
        wanted["CAP_PROP_N_THREADS"] = DECODE_THREADS
    release = tuple(int(part) for part in re.findall(r"\d+", cv2.__version__)[:2])
    if backend == "V4L2" or (backend == "GSTREAMER" and release < _GSTREAMER_TIMEOUTS):
        wanted = {}  # V4L2 has a time-out of its own, 10 s
    return [
        number
        for name, value in wanted.items()
        if hasattr(cv2, name)
        for number in (getattr(cv2, name), value)
    ]


def _configure(cv2: Any, capture: Any, source: Source) -> None:  # noqa: ANN401
    """Ask a V4L2 device for a size and a rate, and say what it gives instead."""
    if source.width or source.height:
        # Without compression USB 2 carries 1080p at 5 frames per second.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    for what, wanted in (("WIDTH", source.width), ("HEIGHT", source.height)):
        if wanted:
            capture.set(getattr(cv2, f"CAP_PROP_FRAME_{what}"), wanted)
            found = int(capture.get(getattr(cv2, f"CAP_PROP_FRAME_{what}")))
            if found != wanted:
                log.warning(
                    "%s: %s is %d, not the %d asked for; `v4l2-ctl --list-formats-ext` lists "
                    "what the device has",
                    *(source, what.lower(), found, wanted),
                )
    if source.fps:
        capture.set(cv2.CAP_PROP_FPS, source.fps)


def _cannot_open(source: Source) -> CaptureError:
    if source.kind is Kind.RTSP:
        return rtsp.why_not(source)
    if source.kind is Kind.V4L2:
        state = _state_of(Path(source.target))
        return CaptureError(
            f"{source}: {state}",
            "check the cable, `v4l2-ctl --list-devices`, and that this user is in the group video",
        )
    if source.kind is Kind.FILE:
        return CaptureError(f"{source}: {_state_of(Path(source.target))}", "check the file")
    tool = "nvargus-daemon runs (systemctl status nvargus-daemon)"
    if source.kind is Kind.GST:
        tool = "the pipeline runs in gst-launch-1.0"
    return CaptureError(f"{source}: the GStreamer pipeline does not start", f"check that {tool}")


def _readable(path: Path) -> bool:
    try:
        return path.is_file() and os.access(path, os.R_OK)
    except OSError:  # `_state_of` says which
        return False


def _state_of(path: Path) -> str:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "does not exist"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    if stat.S_ISDIR(mode):
        return "is a directory"
    if not os.access(path, os.R_OK):
        return "permission denied"
    return "cannot be opened (busy, or not what it should be)"


def _sane_fps(fps: float) -> float:
    """Return a frame rate to count with where the container states none."""
    return fps if 0 < fps <= 1000 else 25.0  # noqa: PLR2004 - False for a NaN too
