"""One thing that `edge doctor` found out, and how it asks so that no probe harms another.

Whatever may hang or crash (foreign libraries, the network) is asked in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

_PATIENCE_S = 20


class Verdict(str, Enum):
    """How a finding bears on the main job: cameras in, INT8 detections out to a broker."""

    OK = "ok"
    WARNING = "warning"
    NOT_HERE = "not here"
    """Not needed for the main job on this machine."""
    FAILS = "fails"
    """The main job cannot run."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: what was found, what it would be for, and how to get it."""

    name: str
    verdict: Verdict
    found: str
    needed_for: str = ""
    remedy: str = ""


class ProbeFailed(Exception):  # noqa: N818 - caught here and shown as what was found
    """The probe's process found no answer: its last line says why."""


def ask(code: str, *arguments: str) -> Any:  # noqa: ANN401
    """Run Python code in its own process and return the JSON value it prints last."""
    try:
        done = subprocess.run(  # noqa: S603 - our own code below, on this interpreter
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProbeFailed(f"no answer in {_PATIENCE_S} s") from None
    if done.returncode < 0:
        raise ProbeFailed(f"crashed with signal {-done.returncode}")
    lines = (done.stdout if done.returncode == 0 else done.stderr).strip().splitlines()
    if done.returncode or not lines:
        raise ProbeFailed(lines[-1] if lines else f"ended with status {done.returncode}")
    return json.loads(lines[-1])


def isolated(name: str, probe: Callable[[], Finding]) -> Finding:
    """Return what `probe` finds, or its failure as a finding."""
    try:
        return probe()
    except ProbeFailed as error:
        return Finding(name, Verdict.WARNING, str(error))
    except Exception as error:  # noqa: BLE001 - shown, and the other probes go on
        return Finding(name, Verdict.WARNING, f"could not look: {type(error).__name__}: {error}")
