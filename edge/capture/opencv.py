"""OpenCV, if it is installed: what it was built with, and what to install if it lacks something."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from edge.board import this_board
from edge.errors import PIP, MissingPackage

_FROM_JETPACK = (
    "on a Jetson: sudo apt install nvidia-opencv (or python3-opencv), in a virtual "
    "environment made with --system-site-packages; a wheel from pip has no GStreamer"
)


def import_cv2() -> Any:  # noqa: ANN401 - a module
    """Return the cv2 module; raises `MissingPackage` naming what to install.

    OpenCV and FFmpeg are kept from writing to stderr: their lines may hold a camera's password, and
    what they say we say ourselves.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # read when cv2 is loaded
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # read when the first video is opened
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise MissingPackage(
            f"OpenCV is needed for cameras and pictures and cannot be imported ({error})",
            this_board().remedy("opencv", str(error)),
        ) from error
    # It may have been loaded before us. OpenCV 5 has no more setLogLevel, 4.6 has nothing else.
    (getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel)(0)
    return cv2


def require_backend(backend: str, needed_for: str) -> int:
    """Return the number of OpenCV's video backend (GSTREAMER, FFMPEG, V4L2).

    Raises `MissingPackage` if this OpenCV was built without it.
    """
    cv2 = import_cv2()
    number = int(getattr(cv2, f"CAP_{backend}"))
    if not cv2.videoio_registry.hasBackend(number):
        raise MissingPackage(
            f"{needed_for}: needs an OpenCV with {backend}, and OpenCV {cv2.__version__} "
            f"from {Path(cv2.__file__).parent} has none",
            _REMEDY[backend],
        )
    return number


_REMEDY = {
    "GSTREAMER": f"{_FROM_JETPACK}; on Debian or Ubuntu: sudo apt install python3-opencv",
    "FFMPEG": f"use a gst:// pipeline instead, or {PIP} install 'aisle-edge[cpu]'",
    "V4L2": f"use a gst:// pipeline with v4l2src instead, or {PIP} install 'aisle-edge[cpu]'",
}
