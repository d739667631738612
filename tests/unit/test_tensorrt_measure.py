"""The script for a real GPU runs through on the doubles, and records what it found."""

import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from edge.detector.bundle import InputSpec
from tests.fakes import tensorrt
from tests.fakes.gpu import CUBIN, ROOT, Gpu, install
from tests.gpu import bench, contexts, measure, others, plans, record
from tests.plans import TENSORRT, write_plan_bundle

pytestmark = pytest.mark.needs("cv2", "onnxruntime", "onnx")


SMALL = InputSpec(width=64, height=64, letterbox="centered", pad=114)


@pytest.fixture
def gpu(monkeypatch):
    gpu = Gpu()
    install(monkeypatch, gpu, tensorrt.module(TENSORRT, gpu))
    lean = tensorrt.module("11.4.0.106", gpu)
    monkeypatch.setitem(sys.modules, "tensorrt_lean_bindings", lean)
    for module in (bench, measure, others):
        monkeypatch.setattr(module, "FULL_HD", (192, 108))
        monkeypatch.setattr(module, "NETWORK", SMALL)
        monkeypatch.setattr(module, "SWEPT_BYTES", 1 << 16, raising=False)
    monkeypatch.setattr(bench, "compiled_kernel", lambda compute_capability: CUBIN)
    monkeypatch.setattr(plans, "compile_kernel", lambda compute_capability: CUBIN)
    return gpu


@pytest.mark.parametrize("part", sorted(set(measure.PARTS) - {"others", "pycuda"}))
def test_every_part_runs_and_leaves_nothing(gpu, capsys, tmp_path, part):
    bundle = str(write_plan_bundle(tmp_path / "bundle"))
    measure.main([part, "--bundle", bundle, "--cases", "3", "--rounds", "1", "--cycles", "20"])

    (found,) = json.loads(capsys.readouterr().out).values()
    assert found
    assert (gpu.allocated, gpu.pinned, gpu.retained, gpu.stack) == ({}, {}, 0, [])


def test_what_is_not_installed_is_not_run_and_that_is_said(gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)

    found = others.resizes(rounds=1)

    assert found["torchvision_us"].startswith("not run: ")
    assert found["cv2_cuda_us"].startswith("not run: ")
    assert found["cv2_on_the_cpu_us"] > 0


def test_nothing_is_timed_before_all_of_it_is_queued(gpu):
    """Or the time in which the GPU waits for Python would be counted."""
    told = []

    with bench.Bench() as one:
        sweep = sys.modules["pycuda.driver"].memset_d8_async
        one.cuda.memset_d8_async = lambda *what: (told.append("sweep"), sweep(*what))
        bench.milliseconds(
            one.device, one.stream, lambda: told.append("work"), 1, lambda: told.append("before")
        )

    assert told[:3] == ["sweep", "before", "work"]


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
    monkeypatch.setattr(contexts.TensorRt, "open", lambda self: None)

    with pytest.raises(AssertionError, match="was not refused"):
        measure.main(["lean"])


def test_memory_that_is_lost_fails_its_part(gpu, monkeypatch):
    free = iter([1 << 30, 1 << 20])
    driver = sys.modules["pycuda.driver"]
    monkeypatch.setattr(driver, "mem_get_info", lambda: (next(free), 1 << 30))

    with pytest.raises(AssertionError, match="bytes of the GPU's were lost in 20 cycles"):
        measure.main(["hygiene", "--cycles", "20"])


def test_a_process_that_grows_fails_its_part(gpu, monkeypatch):
    sizes = iter([100_000, 100_000 + (64 << 10)])
    used = {"getrusage": lambda _: SimpleNamespace(ru_maxrss=next(sizes)), "RUSAGE_SELF": 0}
    monkeypatch.setattr(contexts, "resource", SimpleNamespace(**used))

    with pytest.raises(AssertionError, match="the process grew by 65536 KB"):
        measure.main(["hygiene", "--cycles", "20"])


def test_the_floor_counts_what_a_resize_has_to_read():
    to_a_third = measure.sectors_read((1920, 1080), (640, 360))
    to_a_half = measure.sectors_read((1920, 1080), (960, 540))

    assert to_a_third == 360 * 1920 * 3 / 32  # one row of three, of which every sector holds some
    assert to_a_half == 1080 * 1920 * 3 / 32
    assert measure.weighing(6, 2).tolist() == [1, 4]
    assert measure.weighing(2, 4).tolist() == [0, 1]


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
