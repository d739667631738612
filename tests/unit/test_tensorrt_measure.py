"""The script for a real GPU runs through on the doubles, and records what it found."""

import json
import subprocess
import sys

import pytest

from edge.detector.bundle import InputSpec
from tests.fakes import tensorrt
from tests.fakes.gpu import CUBIN, ROOT, Gpu, install
from tests.gpu import measure, plans, record

pytestmark = pytest.mark.needs("cv2", "onnxruntime", "onnx")


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    install(monkeypatch, gpu, None)
    lean = tensorrt.module("11.4.0.106", gpu)
    monkeypatch.setitem(sys.modules, "tensorrt_lean_bindings", lean)
    monkeypatch.setattr(measure, "COPIED_BYTES", 1 << 16)
    monkeypatch.setattr(measure, "FULL_HD", (192, 108))
    small = InputSpec(width=64, height=64, letterbox="centered", pad=114)
    monkeypatch.setattr(measure, "NETWORK", small)
    monkeypatch.setattr(measure, "compiled_kernel", lambda compute_capability: CUBIN)
    monkeypatch.setattr(plans, "compile_kernel", lambda compute_capability: CUBIN)
    return gpu


@pytest.mark.parametrize("part", sorted(set(measure.PARTS) - {"others", "pycuda"}))
def test_every_part_runs_and_leaves_nothing(gpu, capsys, part):
    measure.main([part, "--cases", "3", "--rounds", "1", "--cycles", "20"])

    (found,) = json.loads(capsys.readouterr().out).values()
    assert found
    assert (gpu.allocated, gpu.pinned, gpu.retained, gpu.stack) == ({}, {}, 0, [])


def test_a_kernel_that_is_wrong_fails_its_part(gpu, monkeypatch):
    monkeypatch.setattr(
        measure, "letterboxed", lambda bench, spec, images: 255 - wrong(images, spec)
    )

    with pytest.raises(AssertionError, match="grey levels off"):
        measure.main(["kernel", "--cases", "3"])


def wrong(images, spec):
    import numpy as np

    return np.stack([measure.letterbox(image, spec)[0] for image in images])


def test_a_lean_runtime_that_takes_anything_fails_its_part(gpu, monkeypatch):
    monkeypatch.setattr(measure.TensorRt, "open", lambda self: None)

    with pytest.raises(AssertionError, match="was not refused"):
        measure.main(["lean"])


def test_memory_that_is_lost_fails_its_part(gpu, monkeypatch):
    free = iter([1 << 30, 1 << 20])
    driver = sys.modules["pycuda.driver"]
    monkeypatch.setattr(driver, "mem_get_info", lambda: (next(free), 1 << 30))

    with pytest.raises(AssertionError, match="were lost in 20 cycles"):
        measure.main(["hygiene", "--cycles", "20"])


def test_a_bilinear_resize_to_a_third_needs_one_row_of_three():
    assert measure.rows_read(360) == 360
    assert measure.rows_read(540) == 1080


def test_results_go_into_the_table_and_the_rest_is_marked_as_not_run(tmp_path):
    page = tmp_path / "gpu.md"
    page.write_text("before\n" + record.BEGIN + "\nold\n" + record.END + "\nafter\n")

    record.record({"kernel": {"cases": 3, "refused": {"empty": "a|b"}}}, "2026-01-02", page)

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "Measured: 2026-01-02" in text
    assert "| cases 3; refused empty a/b |" in text
    assert text.count("| not run |") == len(record.ROWS) - 1


def test_the_page_has_a_row_for_every_part():
    page = (ROOT / "docs" / "gpu.md").read_text()

    assert [what for what in record.ROWS.values() if f"| {what} |" not in page] == []
    assert set(measure.PARTS) <= set(record.ROWS)


def test_the_script_is_sound_bash():
    subprocess.run(["bash", "-n", ROOT / "tests/gpu/run"], check=True, timeout=10)
