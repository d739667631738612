"""Which machine this is, and what is said here to install what."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass
from pathlib import Path

from edge.errors import PIP

_JETPACK_OF_L4T = {32: 4, 34: 5, 35: 5, 36: 6, 38: 7}
"""Major release of Jetson Linux (`/etc/nv_tegra_release`): major JetPack that carries it."""

OLDEST_JETPACK = 6

_OLDER_NUMPY = f"{PIP} install 'numpy<2', which this OpenCV was compiled for"

_ON_A_JETSON = {
    "opencv": "apt install nvidia-opencv, in an environment made with --system-site-packages",
    "gstreamer": f"{PIP} uninstall opencv-python opencv-python-headless, so that JetPack's is used",
    "onnxruntime": f"{PIP} install onnxruntime",
    "tensorrt": "apt install nvidia-tensorrt, in an environment made with --system-site-packages",
    "pycuda": f"PATH=/usr/local/cuda/bin:$PATH {PIP} install pycuda",
    "nvcc": "apt install nvidia-jetpack",
    "driver": "flash JetPack again: the driver is part of it",
}
_ON_A_PC = {
    "opencv": f"{PIP} install 'aisle-edge[cpu]'",
    "gstreamer": "apt install python3-opencv, in an environment made with --system-site-packages",
    "onnxruntime": f"{PIP} install 'aisle-edge[cpu]'",
    "tensorrt": "apt install python3-libnvinfer, from NVIDIA's repository",
    "pycuda": f"{PIP} install pycuda (needs the CUDA toolkit)",
    "nvcc": "apt install cuda-nvcc-13-0, or of the CUDA release here, from NVIDIA's repository",
    "driver": "install NVIDIA's driver",
}


@dataclass(frozen=True, slots=True)
class Board:
    """The machine: its model, and its Jetson Linux release if it is a Jetson."""

    model: str
    l4t: str | None = None
    """Release of Jetson Linux such as 36.4; None: not a Jetson."""

    @property
    def jetpack(self) -> int | None:
        """Major JetPack; None: not a Jetson, or a newer one than is known here."""
        return _JETPACK_OF_L4T.get(int(self.l4t.partition(".")[0])) if self.l4t else None

    @property
    def supported(self) -> bool:
        """Whether it is not a JetPack that is too old."""
        return self.jetpack is None or self.jetpack >= OLDEST_JETPACK

    def remedy(self, thing: str, trouble: str = "") -> str:
        """Say how to get `thing` on this machine, if `trouble` is what its import said."""
        if "numpy.core" in trouble:
            return _OLDER_NUMPY
        return (_ON_A_JETSON if self.l4t else _ON_A_PC)[thing]

    def __str__(self) -> str:
        if not self.l4t:
            return self.model
        jetpack = f"JetPack {self.jetpack}" if self.jetpack else "a JetPack not known here"
        return f"{self.model}, {jetpack} (Jetson Linux {self.l4t})"


def this_board(root: Path = Path("/")) -> Board:
    """Read the board's model and release from below `root`."""
    model = _text(root / "proc/device-tree/model").rstrip("\0")
    release = re.search(
        r"# R(\d+) \(release\), REVISION: ([\d.]+)", _text(root / "etc/nv_tegra_release")
    )
    l4t = f"{release[1]}.{release[2]}" if release else None
    return Board(model or f"{platform.machine()} PC", l4t)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:  # what this kind of machine does not have
        return ""
