"""The real lean runtime of TensorRT 11.4, which crashes where it is asked the wrong thing.

Without a CUDA driver it dies by a signal as soon as it is shown any plan. What keeps the daemon
alive is that the driver is asked first, and the passport second.
"""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.fakes.gpu import kernel
from tests.plans import write_plan_bundle
from tests.tensorrt_bindings import CACHE

pytestmark = pytest.mark.needs("onnxruntime", "onnx")

ROOT = Path(__file__).parents[2]
VERSION = "11.4.0.106"
PACKAGES = [f"tensorrt-lean-cu13-{part}=={VERSION}" for part in ("libs", "bindings")]
GPU_MACHINE = ROOT / "tests" / "fakes" / "gpu_machine"
OPEN = """
    import sys
    import tensorrt_lean_bindings
    sys.modules["tensorrt"] = tensorrt_lean_bindings
    from pathlib import Path
    from edge.detector.bundle import load_bundle
    from edge.detector.tensorrt import TensorRt
    from edge.errors import EdgeError
    try:
        TensorRt(load_bundle(Path(sys.argv[1]))).open()
    except EdgeError as error:
        print(error)
"""
DESERIALIZE = """
    import tensorrt_lean_bindings as trt
    trt.Runtime(trt.Logger()).deserialize_cuda_engine(b"")
"""


@pytest.fixture(scope="module")
def lean():
    """Return the folder that the lean runtime is installed in."""
    folder = CACHE / f"lean-{VERSION}-python{sys.version_info.major}.{sys.version_info.minor}"
    if not folder.is_dir():
        part = folder.with_name(f"{folder.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        command = [*(sys.executable, "-m", "pip", "install", "--quiet", "--no-deps")]
        command += ["--only-binary", ":all:", "--target", part, *PACKAGES]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
        if done.returncode:
            pytest.skip(f"the lean runtime cannot be had: {done.stderr.strip().splitlines()[-1]}")
        part.rename(folder)
    return folder


@pytest.fixture(autouse=True)
def no_driver():
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.skip("this machine has a CUDA driver: tests/gpu/run shows the lean runtime plans")


def python(source, *words, path):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *map(str, words)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path))},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_shown_a_plan_without_a_driver_it_crashes(lean):
    """Why all of this is needed; where a newer one does not, it may go."""
    assert python(DESERIALIZE, path=[lean]).returncode < 0


def test_without_a_driver_it_is_not_asked(lean, tmp_path):
    done = python(OPEN, write_plan_bundle(tmp_path / "b"), path=[lean])

    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("the GPU needs ")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("plan", "says"),
    [
        ({}, "was compiled by TensorRT 10.3.0, here is 11.4.0"),
        (
            {"tensorrt": VERSION, "compute_capability": "7.2"},
            "was compiled for compute capability 7.2, here is 8.7",
        ),
        (
            {"tensorrt": VERSION, "compute_capability": "8.7", "cuda": "13.2"},
            "was compiled with a driver of CUDA 13.2, here is 12.6",
        ),
        (
            {"tensorrt": VERSION, "compute_capability": "8.7"},
            "TensorRT 11.4.0.106 cannot use Fake Orin with the driver of CUDA 12.6: ",
        ),
    ],
    ids=["version", "compute capability", "older driver", "driver"],
)
def test_what_it_would_crash_on_is_not_shown_to_it(lean, tmp_path, plan, says):
    kernel()
    bundle = write_plan_bundle(tmp_path / "b")
    passport = json.loads((bundle / "bundle.json").read_text())
    passport["plan"] |= plan
    (bundle / "bundle.json").write_text(json.dumps(passport))

    done = python(OPEN, bundle, path=[lean, GPU_MACHINE])  # a double of the GPU, the real TensorRT

    assert done.returncode == 0, done.stderr
    assert says in done.stdout
