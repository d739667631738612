"""The log goes to stderr from a thread of its own: whoever reads there may stop reading."""

from __future__ import annotations

import logging
import os
import queue
import threading
import time

_LINES_MOST = 1000
_LAST_WORDS_S = 0.5
_POLL_S = 0.005


class LogWriter(logging.Handler):
    """Writes what is logged to a file descriptor; never makes a thread that logs wait.

    What comes while nobody reads is kept, up to a thousand lines, and counted from there on. None
    for a descriptor: there is nowhere to write to.
    """

    def __init__(self, descriptor: int | None) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._lines: queue.Queue[str] = queue.Queue(_LINES_MOST)
        self._lost = 0
        # Not the handler's own lock: logging holds that one while it waits in ``flush``.
        self._counting = threading.Lock()
        threading.Thread(target=self._write_all, name="log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """Take a line, or count it as lost."""
        try:
            self._lines.put_nowait(self._line(record))
        except queue.Full:
            with self._counting:
                self._lost += 1

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # noqa: BLE001 - a line's own fault must not end who logs it
            return f"ERROR {record.name}: cannot be written ({error}): {record.msg!r}"

    def flush(self) -> None:
        """Wait half a second at most until everything is written; logging does so at the end."""
        until_s = time.monotonic() + _LAST_WORDS_S
        while self._lines.unfinished_tasks and time.monotonic() < until_s:
            time.sleep(_POLL_S)

    def _write_all(self) -> None:
        while True:
            line = self._lines.get()
            if lost := self._lost_since():
                line += f"\n{lost} lines of the log are lost: nobody has read them in time"
            self._write(f"{line}\n".encode(errors="backslashreplace"))
            self._lines.task_done()

    def _lost_since(self) -> int:
        with self._counting:
            lost, self._lost = self._lost, 0
        return lost

    def _write(self, text: bytes) -> None:
        while text and self._descriptor is not None:
            text = _rest_of(text, self._descriptor)


def _rest_of(text: bytes, descriptor: int) -> bytes:
    """Write some of it, and return what is left to write."""
    try:
        # Not through sys.stderr: its lock, held here at the end, would abort the process.
        return text[os.write(descriptor, text) :]
    except BlockingIOError:  # a terminal that another program has set so
        time.sleep(_POLL_S)
        return text
    except OSError:  # a reader that is gone, a disk that is full: perhaps the next line
        return b""
