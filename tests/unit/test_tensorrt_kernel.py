"""The letterbox kernel is compiled for a GPU where there is nvcc; where not, that is said."""

import shutil

import pytest

from edge.errors import MissingPackage
from engines import kernel
from engines.errors import BuildError


@pytest.fixture
def nvcc():
    if not (shutil.which("nvcc") or shutil.which("nvcc", path=kernel._ELSEWHERE)):
        pytest.skip("needs nvcc: install the CUDA toolkit")


@pytest.mark.parametrize("compute_capability", ["8.7", "9.0"])
def test_it_is_machine_code_for_that_gpu(nvcc, compute_capability):
    cubin = kernel.compile_kernel(compute_capability)

    assert cubin.startswith(b"\x7fELF")
    assert b"letterbox" in cubin


def test_a_gpu_that_nvcc_does_not_know_is_said(nvcc):
    with pytest.raises(BuildError, match="cannot compile the letterbox kernel for -arch=sm_12"):
        kernel.compile_kernel("1.2")


def test_without_nvcc_the_package_is_named(monkeypatch):
    monkeypatch.setattr(kernel.shutil, "which", lambda *_, **__: None)

    with pytest.raises(MissingPackage, match="needs nvcc") as caught:
        kernel.compile_kernel("8.7")

    assert "apt install" in caught.value.hint
