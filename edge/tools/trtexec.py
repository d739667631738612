"""NVIDIA's own figure for a plan, where `trtexec` is installed."""

from __future__ import annotations

import logging
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

from edge.detector.bundle import PLAN

if TYPE_CHECKING:
    from edge.detector.bundle import Bundle

TIMEOUT_S = 120.0
JETPACK = "/usr/src/tensorrt/bin"
"""Where JetPack puts it, which is on nobody's PATH."""

log = logging.getLogger(__name__)


def queries_per_second(bundle: Bundle) -> float | None:
    """Return how many frames a second `trtexec` puts through the bundle's plan, without transfers.

    None where there is no `trtexec`, or where it fails: why is logged.
    """
    program = shutil.which("trtexec") or shutil.which("trtexec", path=JETPACK)
    if program is None:
        log.info("no trtexec on this machine: its figure is left out")
        return None
    spec = bundle.passport.input
    command = [
        program,
        f"--loadEngine={bundle.file(PLAN)}",
        f"--shapes=frames:1x{spec.height}x{spec.width}x3",
        "--noDataTransfers",
    ]
    try:
        ran = subprocess.run(  # noqa: S603 - no shell; the path is the bundle's own
            command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        log.warning("trtexec: %s; its figure is left out", error)
        return None
    found = re.search(r"Throughput: ([\d.]+) qps", ran.stdout)
    if ran.returncode or found is None:
        last = (ran.stderr or ran.stdout).strip().splitlines()[-1:]
        log.warning("trtexec: status %d, %s; its figure is left out", ran.returncode, last)
        return None
    return float(found[1])
