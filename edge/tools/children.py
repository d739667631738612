"""Programs that live no longer than the one that started them."""

from __future__ import annotations

import contextlib
import logging
import shutil
import signal
import subprocess
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_log = logging.getLogger(__name__)

STOP_S = 8.0
"""How long a program may take to end before it is killed; the daemon needs at most 5."""


@contextlib.contextmanager
def child(
    command: Sequence[str], output: int | IO[bytes] | None, ends_on: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program, its output in `output` (None: ours); on the way out it is stopped, or killed.

    Ctrl-C in a terminal does not reach it: whoever started it decides in which order things end.
    """
    process = subprocess.Popen(  # noqa: S603 - a list of our own making, no shell
        [*_ends_with_us(), *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output else None,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        _stop(process, ends_on)


def _stop(process: subprocess.Popen[bytes], ends_on: signal.Signals) -> None:
    process.send_signal(ends_on)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        _log.warning("process %d did not end in %g s and is killed", process.pid, STOP_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def last_lines(log: Path, count: int) -> list[str]:
    """Return the last lines of a log, without control characters."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-count:]
    return ["".join(char for char in line if char.isprintable()) for line in lines]


def _ends_with_us() -> list[str]:
    """Have the kernel end the program should we be killed; Linux's util-linux can ask for it."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "TERM", "--"] if setpriv else []
