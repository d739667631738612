"""What the broker has acknowledged so lately that it may not have saved it.

mosquitto answers first and saves afterwards. Killed in between it has lost what it answered, unless
its subscribers had it already: so that goes out once more on the next connection.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .store import Letter

_SAVED_AFTER_S = 2.0
_MOST = 200
"""Letters that are remembered: 2 s of a busy device, about 1 MB of large ones."""


class Unsaved:
    """Remembers those letters, and which of them are to be sent `again`, oldest first."""

    def __init__(self) -> None:
        self._lately: deque[tuple[float, Letter]] = deque(maxlen=_MOST)
        self.again: deque[Letter] = deque()

    def note(self, letter: Letter) -> None:
        """Remember what the broker has just acknowledged."""
        self._lately.append((time.monotonic(), letter))

    def connection_lost(self, under_way: Iterable[Letter]) -> None:
        """Have sent again what was acknowledged last, and those that were already on their way so.

        A connection may be lost for other reasons than the broker's end: then these are duplicates.
        """
        since = time.monotonic() - _SAVED_AFTER_S
        lately = [letter for when, letter in self._lately if when >= since]
        lost = {letter.seq: letter for letter in (*lately, *under_way, *self.again)}
        self.again = deque(letter for _, letter in sorted(lost.items()))
        self._lately.clear()
