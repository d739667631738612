"""Compile the letterbox kernel for a GPU, with the CUDA toolkit's nvcc."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

import edge.detector
from edge.board import this_board
from edge.errors import MissingPackage
from engines.errors import BuildError

SOURCE = Path(edge.detector.__file__).with_name("letterbox.cu")
_ELSEWHERE = "/usr/local/cuda/bin"
"""Where JetPack and NVIDIA's packages put nvcc, which is on nobody's PATH."""
_PATIENCE_S = 120


def compile_kernel(compute_capability: str) -> bytes:
    """Return letterbox.cu as machine code (a cubin) for a GPU such as `8.7`.

    Raises `MissingPackage` without nvcc, and `BuildError` where it fails.
    """
    nvcc = shutil.which("nvcc") or shutil.which("nvcc", path=_ELSEWHERE)
    if nvcc is None:
        raise MissingPackage(
            "the letterbox kernel needs nvcc to be compiled", this_board().remedy("nvcc")
        )
    with tempfile.TemporaryDirectory(prefix="aisle-edge-") as folder:
        cubin = Path(folder) / "letterbox.cubin"
        architecture = f"-arch=sm_{compute_capability.replace('.', '')}"
        command = [nvcc, "-cubin", architecture, "-O3", "-o", str(cubin), str(SOURCE)]
        done = subprocess.run(  # noqa: S603 - a compiler, on a file of ours
            command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())
            raise BuildError(
                f"{nvcc} cannot compile the letterbox kernel for {architecture}: {said}",
                "install a CUDA toolkit that knows this GPU, the one of its JetPack or driver",
            )
        return cubin.read_bytes()
