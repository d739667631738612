"""What must not go wrong however often: contexts, memory, and plans that are none."""

from __future__ import annotations

import resource
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from edge.detector.bundle import load_bundle
from edge.detector.cuda import Device, PinnedFrames, current_context
from edge.detector.tensorrt import TensorRt
from edge.errors import PlanRefused
from tests.gpu.bench import Bench
from tests.gpu.plans import FOREIGN, write_bundle_with

LOST_BYTES = 1 << 20
"""Of the GPU's memory, over all cycles: the driver itself rounds."""
GROWN_KB = 32 << 10
"""Of the process, from a tenth of the cycles on: allocators keep some."""


def hygiene(cycles: int) -> dict[str, object]:
    """Open, use and close the device over and over, in one thread and in fresh ones."""
    lost: list[Exception] = []

    def cycle() -> None:
        try:
            use_once()
            assert current_context() is None, "a context was left on the thread's stack"
        except Exception as error:  # noqa: BLE001 - raised below, on the main thread
            lost.append(error)

    keeper = Device()  # so that the primary context, and what it holds, lives through all cycles
    free, resident = [], []
    for number in range(cycles):
        if number % 2:
            thread = threading.Thread(target=cycle)
            thread.start()
            thread.join()
        else:
            cycle()
        if lost:
            raise lost[0]
        if number in {cycles // 10, cycles - 1}:
            with keeper.current():
                free.append(keeper.cuda.mem_get_info()[0])
            resident.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    keeper.release()
    lost_bytes, grown_kb = free[0] - free[-1], resident[-1] - resident[0]
    assert lost_bytes <= LOST_BYTES, f"{lost_bytes} bytes of the GPU's were lost in {cycles} cycles"
    assert grown_kb <= GROWN_KB, f"the process grew by {grown_kb} KB in {cycles} cycles"
    return {"cycles": cycles, "gpu_bytes_lost": lost_bytes, "host_kb_grown": grown_kb}


def use_once() -> None:
    """Open the device, send a frame through page-locked memory, and let go of everything."""
    with Bench() as bench:
        pinned = PinnedFrames()
        image = np.zeros((480, 640, 3), np.uint8)
        pinned.hold(image)
        pinned.provide(bench.device)
        held = pinned.hold(image)
        bench.upload(held).free()
        del held
        pinned.close()


def pycuda() -> dict[str, object]:
    """Hold the double of pycuda to the real one: it may have nothing that this lacks."""
    from pycuda import driver

    from tests.fakes import gpu

    double = gpu.Gpu().driver()
    lacking = [name for name in vars(double) if not hasattr(driver, name)]
    for fake, real in ((gpu.Stream, driver.Stream), (gpu.Event, driver.Event)):
        names = [name for name in vars(fake) if not name.startswith("_")]
        lacking += [name for name in names if not hasattr(real, name)]
    lacking = [name for name in lacking if name not in {"do", "now", "drain", "reach"}]
    assert not lacking, f"pycuda has no {lacking}"
    return {"names": len(vars(double))}


def lean() -> dict[str, object]:
    """Show the lean TensorRT runtime plans that it must refuse, as our runtime would."""
    Device().release()  # without a driver the lean runtime crashes: asked first, as the daemon does
    import tensorrt_lean_bindings

    sys.modules["tensorrt"] = tensorrt_lean_bindings
    version = tensorrt_lean_bindings.__version__
    refused = {}
    for name, plan in FOREIGN.items():
        with tempfile.TemporaryDirectory(prefix="aisle-edge-") as folder:
            device = Device()
            bundle = write_bundle_with(plan, version, device, Path(folder) / "bundle")
            device.release()
            try:
                TensorRt(load_bundle(bundle)).open()
            except PlanRefused as error:
                refused[name] = error.message.partition(": ")[2]
            else:
                raise AssertionError(f"a plan that is {name} was not refused")
    return {"version": version, "refused": refused}
