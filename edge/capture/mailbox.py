"""Where camera threads leave their newest frame for the one thread that detects."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

T = TypeVar("T")


class Mailbox(Generic[T]):
    """One slot per camera: the newest item wins, and what it replaced is counted.

    Any thread may put; one thread takes. Nobody waits without a time-out. After `close` nothing is
    kept and nobody waits. An unknown camera is a `KeyError`.
    """

    def __init__(self, cameras: Iterable[str]) -> None:
        names = tuple(cameras)
        if len(set(names)) != len(names):
            raise ValueError(f"Mailbox: expected different camera names, got {names}")
        self._dropped = dict.fromkeys(names, 0)
        self._items: dict[str, T] = {}
        # Insertion order is the order of service: a camera that is served goes to the end.
        self._queue = dict.fromkeys(names)
        self._changed = threading.Condition()
        self._closed = False

    def put(self, camera: str, item: T) -> bool:
        """Leave an item; return whether one was lost by it (the older one, or this if closed)."""
        with self._changed:
            lost = camera in self._items or self._closed
            self._dropped[camera] += lost
            if not self._closed:
                self._items[camera] = item
                self._changed.notify_all()
            return lost

    def put_wait(self, camera: str, item: T, timeout: float) -> bool:
        """Leave an item once the slot is free: back-pressure for a source that can wait.

        Returns False, and keeps nothing, when the slot was not freed within `timeout` seconds or
        the mailbox was closed.
        """
        with self._changed:
            if camera not in self._dropped:
                raise KeyError(camera)
            self._changed.wait_for(lambda: self._closed or camera not in self._items, timeout)
            if self._closed or camera in self._items:
                return False
            self._items[camera] = item
            self._changed.notify_all()
            return True

    def take(
        self, limit: int, timeout: float, unless: Callable[[], bool] = lambda: False
    ) -> list[tuple[str, T]]:
        """Return up to `limit` items, the cameras that waited longest for their turn first.

        Waits up to `timeout` seconds for the first one, `unless` something else is true, which is
        asked whenever `wake` was called; [] when none came or it was closed.
        """
        if limit < 1:
            raise ValueError(f"Mailbox.take: expected limit >= 1, got {limit}")
        with self._changed:
            self._changed.wait_for(lambda: self._closed or bool(self._items) or unless(), timeout)
            turn = [camera for camera in self._queue if camera in self._items][:limit]
            taken = [(camera, self._items.pop(camera)) for camera in turn]
            for camera in turn:
                del self._queue[camera]
                self._queue[camera] = None
            self._changed.notify_all()
            return taken

    def wake(self) -> None:
        """Have who waits look again, from any thread."""
        with self._changed:
            self._changed.notify_all()

    def dropped(self, camera: str) -> int:
        """Return how many of a camera's items were lost unseen."""
        with self._changed:
            return self._dropped[camera]

    def close(self) -> None:
        """Let go of everything and wake everyone; may be called twice."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()
