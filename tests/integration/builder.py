"""`edge-build-engine` as its user starts it: a process of its own, and photos to give it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def words(given):
    return [sys.executable, "-m", "engines.cli", *map(str, given)]


def build(*given):
    """Return the ended process with what it printed."""
    return subprocess.run(
        words(given), cwd=ROOT, capture_output=True, text=True, timeout=550, check=False
    )


def interrupted(*given, at, after_s=0.0):
    """Press Ctrl-C when `at` is told, and some time after; return (exit status, the errors)."""
    process = subprocess.Popen(
        words(given),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert any(at in line for line in process.stderr), f"it ended before {at!r}"
        time.sleep(after_s)
        process.send_signal(2)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, errors


def photos(video, folder, every):
    """Write every so many-th frame of a video as a photo; return the folder."""
    import cv2

    reader = cv2.VideoCapture(str(video))
    number = 0
    while reader.grab():
        if number % every == 0:
            cv2.imwrite(str(folder / f"{number:04}.jpg"), reader.retrieve()[1])
        number += 1
    reader.release()
    return folder
