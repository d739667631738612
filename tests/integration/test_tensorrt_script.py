"""`tests/gpu/run` from first line to last, on doubles of GPU and TensorRT, with a real nvcc."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engines import kernel
from tests.gpu import record
from tests.plans import write_portable_bundle

pytestmark = pytest.mark.needs("cv2", "onnxruntime", "onnx")

ROOT = Path(__file__).parents[2]
GPU_MACHINE = ROOT / "tests" / "fakes" / "gpu_machine"


@pytest.fixture
def checkout(tmp_path):
    """Return a folder like the project's, whose page is its own."""
    if not (shutil.which("nvcc") or shutil.which("nvcc", path=kernel._ELSEWHERE)):
        pytest.skip("needs nvcc: install the CUDA toolkit")
    for name in ("edge", "engines", "calibration", "tests"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "docs").mkdir()
    shutil.copy(ROOT / "docs" / "gpu.md", tmp_path / "docs")
    return tmp_path


def run(checkout, *words, gpu="true", python=sys.executable):
    programs = checkout / "bin"
    programs.mkdir()
    (programs / "nvidia-smi").symlink_to(shutil.which(gpu))
    effort = {"CASES": "3", "ROUNDS": "1", "CYCLES": "20"}
    machine = {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHON": str(python),
        "PYTHONPATH": str(GPU_MACHINE),
    }
    return subprocess.run(
        [checkout / "tests" / "gpu" / "run", *words],
        env=os.environ | effort | machine,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def rows(checkout):
    """Return the table: what was measured, by what it shows."""
    _, _, table = (checkout / "docs" / "gpu.md").read_text().partition(record.BEGIN)
    lines = table.partition(record.END)[0].splitlines()
    return dict(line.strip("| ").split(" | ", 1) for line in lines if line.startswith("| "))


def test_every_part_that_can_be_had_is_in_the_table(checkout):
    bundle = write_portable_bundle(checkout / "quadrants")

    done = run(checkout, bundle)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "all parts passed" in done.stdout
    measured = rows(checkout)
    assert "Fake Orin" in measured["device"]
    not_run = {what for what, found in measured.items() if found == "not run"}
    assert not_run <= {
        "the same under compute-sanitizer",
        "`edge bench` of that plan",
        "`trtexec` of that plan",
    }


def test_a_part_that_fails_is_named_and_the_others_run(checkout):
    python = checkout / "python"
    python.write_text(
        "#!/bin/sh\n"
        'case "$*" in\n'
        "*'measure kernel'*) exit 1 ;;\n"
        "*'measure about'*) echo '{\"about\": \"a GPU\"}' ;;\n"
        "*measure*) echo '{}' ;;\n"
        f'*) exec {sys.executable} "$@" ;;\n'
        "esac\n"
    )
    python.chmod(0o755)

    done = run(checkout, python=python)

    assert done.returncode == 1
    assert done.stdout.endswith("failed: kernel\n")
    measured = rows(checkout)
    assert measured["device"] == "a GPU"
    assert measured["letterbox kernel against the CPU letterbox, random sizes"] == "not run"


@pytest.mark.skipif(Path("/etc/nv_tegra_release").exists(), reason="this is a Jetson")
def test_without_a_gpu_nothing_is_written(checkout):
    before = (checkout / "docs" / "gpu.md").read_bytes()

    done = run(checkout, gpu="false")

    assert done.returncode == 3
    assert "no NVIDIA GPU here" in done.stderr
    assert (checkout / "docs" / "gpu.md").read_bytes() == before
