"""A real `edge run` as a child process, on the quadrant detector and painted pictures."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import yaml

from tests.quadrants import picture, write_bundle

if TYPE_CHECKING:
    from pathlib import Path

WIDE = (320, 240)
LEFT_TWO = (255, 0, 200, 0)
"""Two boxes in the left aisle."""
PLAYED = "file://{}?loop=1&realtime=1"


def paint_video(path: Path, *scenes: tuple[int, ...], frames: int = 20, fps: float = 20) -> Path:
    """Write a video: each scene, the brightness of its four quadrants, for so many frames.

    Stripes make it a picture of something, and a moving speck keeps it from being a frozen one.
    """
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, WIDE)
    for scene in scenes:
        for number in range(frames):
            image = picture(*scene, size_wh=WIDE)
            image[:, (np.arange(WIDE[0]) // 8) % 2 == 1] //= 2
            x = 8 * number % (WIDE[0] - 8)
            image[116:124, x : x + 8] = 128 + 64 * (number % 2)
            writer.write(image)
    writer.release()
    return path


def write_config(folder: Path, port: int, source: str, **changes: Any) -> Path:
    """Write a configuration with one camera that sees two aisles, `left` and `right`."""
    bundle = folder / "bundle"
    if not bundle.exists():
        write_bundle(bundle)
    config = {
        "site": "north",
        "device": "a07",
        "bundle": str(bundle),
        "cameras": [
            {
                "name": "cam",
                "source": source,
                "fps": 10,
                "aisles": [
                    {"id": "left", "zone": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]},
                    {"id": "right", "zone": [[0.5, 0], [1, 0], [1, 1], [0.5, 1]]},
                ],
            }
        ],
        "mqtt": {"host": "127.0.0.1", "port": port},
        "publish": {"detections_per_second": 5, "hysteresis_s": 0.5},
        "outbox": {"path": str(folder / "outbox.db")},
    } | changes
    path = folder / "aisle-edge.yaml"
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


class Daemon:
    """`edge run --config FILE`; a context manager that leaves no process behind."""

    def __init__(self, config: Path, **environment: str) -> None:
        self._config = config
        self._environment = os.environ | environment
        self.log = ""
        self.process: subprocess.Popen[str] | None = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Start it."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edge", "run", "--config", str(self._config)],
            stderr=subprocess.PIPE,
            text=True,
            env=self._environment,
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        for line in process.stderr:
            self.log += line

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def kill(self) -> None:
        """End it at once: power gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def wait(self, timeout_s: float = 20) -> int:
        """Wait for its end and return the exit status."""
        status = self.process.wait(timeout_s)
        self._reader.join(5)
        return status

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit status and how many seconds it took."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        return self.wait(), time.monotonic() - started
