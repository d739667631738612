"""What the main thread is asked to do: by signals, and by the command thread."""

from __future__ import annotations

import signal
import threading
from collections import deque
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout  # its own until Python 3.11
from typing import TYPE_CHECKING

from edge.reporting.commands import CommandError

if TYPE_CHECKING:
    from types import FrameType

    from edge.errors import EdgeError

ANSWER_S = 60.0
"""How long a configuration and its bundle may take to be read."""


class Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload; the handlers only take a note."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._reload = False
        self._askers: deque[Future[None]] = deque()
        self.stop = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._take_note)

    def wait(self, timeout_s: float) -> None:
        """Return at a signal, or after `timeout_s`."""
        self._woken.wait(timeout_s)
        self._woken.clear()

    def ask_to_reload(self) -> None:
        """Have done what SIGHUP does; from another thread, which waits until the file is read.

        Raises what is wrong with the new configuration.
        """
        answer: Future[None] = Future()
        self._askers.append(answer)
        self._reload = True
        self._woken.set()
        try:
            answer.result(ANSWER_S)
        except (TimeoutError, FutureTimeout):
            what = f"the configuration was not read within {ANSWER_S:.0f} s"
            raise CommandError(what, "look at the device's log") from None

    def take_reload(self) -> bool:
        """Return whether a reload was asked for since the last call; on the main thread."""
        asked, self._reload = self._reload, False
        return asked

    def answer_reload(self, error: EdgeError | None) -> None:
        """Tell who waits in `ask_to_reload` what came of it; on the main thread."""
        while self._askers:
            answer = self._askers.popleft()
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)

    def _take_note(self, number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self._reload = True
        else:
            self.stop = True
        self._woken.set()
