"""What TensorRT's builder says: kept in a file as it is said, and the part a person has to see."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

log = logging.getLogger(__name__)

_MOST = 100
_SHORT_OF_MEMORY = re.compile(
    r"skipping tactic.*memory|insufficient.*memory|memory.*insufficient|out of memory",
    re.IGNORECASE,
)
"""Versions differ in how loudly they say it; plans built so have been seen to detect nothing."""


class BuildLog:
    """The builder's log, in a file from its first line on: one killed for its memory leaves it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: TextIO | None = None
        self._warnings: list[str] = []
        self._error = "it gave no reason"

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            log.warning("%s: %s; the builder's log is lost", self._path, error.strerror)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def take(self, level: int, message: str) -> None:
        """Keep a message; any thread may call it, one at a time."""
        line = " ".join(message.split())
        if _SHORT_OF_MEMORY.search(line):
            level = max(level, logging.WARNING)
        if level < logging.INFO:
            return
        if self._file is not None:
            self._file.write(f"{logging.getLevelName(level)}: {line}\n")
        if level >= logging.WARNING and line not in self._warnings:
            self._warnings.append(line)
        if level >= logging.ERROR:
            self._error = line

    def reason(self) -> str:
        """Return the last error."""
        return self._error

    def warnings(self) -> tuple[str, ...]:
        """Return the warnings, each once: of very many the first, and how many are left out."""
        kept = tuple(self._warnings[:_MOST])
        left = len(self._warnings) - len(kept)
        return (*kept, f"and {left} more, in {self._path.name}") if left else kept
