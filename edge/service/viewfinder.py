"""A camera's next picture, for who asks for it: nothing is kept or copied until somebody does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge.frame import Frame


class Viewfinder:
    """Camera threads show every frame; one thread at a time looks at the next one of a camera."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._wanted: str | None = None
        self._frame: Frame | None = None
        self._closed = False

    def show(self, frame: Frame) -> None:
        """Take note of a frame, if it is the one that is waited for; never waits itself."""
        if self._wanted != frame.stamp.camera:
            return
        with self._changed:
            if self._wanted == frame.stamp.camera:
                self._frame, self._wanted = frame, None
                self._changed.notify_all()

    def look(self, camera: str, timeout_s: float) -> Frame | None:
        """Return the camera's next frame; None: there was none in time, or it is closed."""
        with self._changed:
            self._wanted, self._frame = camera, None
            self._changed.wait_for(lambda: self._frame is not None or self._closed, timeout_s)
            frame, self._frame, self._wanted = self._frame, None, None
            return frame

    def close(self) -> None:
        """Wake who waits; nobody waits any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
