"""What is not installed is one line that says how this very board gets it."""

import sys

import numpy as np
import pytest

from edge import board, cli
from engines import cli as build_cli
from tests.fakes import tensorrt
from tests.fakes.gpu import Gpu, install
from tests.plans import TENSORRT, write_plan_bundle

pytestmark = pytest.mark.needs("onnxruntime", "onnx")

JETSON = {
    "model": "NVIDIA Jetson Orin Nano Developer Kit",
    "nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 1",
}
SYSTEM_PACKAGES = "in an environment made with --system-site-packages"


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    gpu = Gpu()
    install(monkeypatch, gpu, tensorrt.module(TENSORRT, gpu))
    return str(write_plan_bundle(tmp_path / "quadrants"))


@pytest.fixture(params=["pc", "jetson"])
def machine(request, monkeypatch):
    files = JETSON if request.param == "jetson" else {}
    monkeypatch.setattr(board, "_text", lambda path: files.get(path.name, ""))
    return request.param


def without(monkeypatch, package):
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


@pytest.mark.parametrize(
    "missing",
    [
        (
            "tensorrt",
            "tensorrt",
            {
                "pc": "apt install python3-libnvinfer, from NVIDIA's repository",
                "jetson": f"apt install nvidia-tensorrt, {SYSTEM_PACKAGES}",
            },
        ),
        (
            "pycuda",
            "tensorrt",
            {
                "pc": "pip install pycuda (needs the CUDA toolkit)",
                "jetson": "-m pip install pycuda",
            },
        ),
        (
            "onnxruntime",
            "onnxruntime",
            {"pc": "pip install 'aisle-edge[cpu]'", "jetson": "pip install"},
        ),
    ],
)
def test_at_run_time(bundle, machine, monkeypatch, capsys, missing):
    package, runtime, remedies = missing
    without(monkeypatch, package)

    assert cli.main(["verify", bundle, "--runtime", runtime]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert package in error.lower()
    assert remedies[machine] in error


def test_without_a_driver(bundle, machine, monkeypatch, capsys):
    def none(flags=0):
        raise sys.modules["pycuda.driver"].RuntimeError("cuInit failed: no CUDA-capable device")

    monkeypatch.setattr(sys.modules["pycuda.driver"], "init", none)

    assert cli.main(["verify", bundle, "--runtime", "tensorrt"]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert {"pc": "install NVIDIA's driver", "jetson": "flash JetPack"}[machine] in error


def test_auto_runs_without_any_of_the_gpus_packages(bundle, monkeypatch, capsys):
    for package in ("pycuda", "tensorrt"):
        without(monkeypatch, package)

    assert cli.main(["verify", bundle]) == 0
    assert "instead of the plan: the GPU needs pycuda" in capsys.readouterr().out


def test_a_plan_is_compiled_with_onnx(bundle, monkeypatch, capsys):
    without(monkeypatch, "onnx")
    monkeypatch.delitem(sys.modules, "engines.on_device", raising=False)

    assert build_cli.main(["--plan", bundle]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"-m pip install onnx numpy=={np.__version__}" in error


def test_a_build_for_tensorrt_says_so_before_it_begins(bundle, tmp_path, monkeypatch, capsys):
    without(monkeypatch, "pycuda")
    given = ["model.onnx", "--images", str(tmp_path), "--out", str(tmp_path / "out")]

    assert build_cli.main([*given, "--runtime", "tensorrt"]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the GPU needs pycuda" in error
