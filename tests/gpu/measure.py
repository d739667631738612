"""What a real GPU does with our kernel and memory: `tests/gpu/run` starts it, docs/gpu.md keeps it.

Each part prints one JSON object, and fails with an exception where something is wrong. None needs
a builder of TensorRT.
"""

from __future__ import annotations

import argparse
import functools
import json
import resource
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.detector.bundle import InputSpec, load_bundle
from edge.detector.cuda import (
    Device,
    DeviceMemory,
    LetterboxKernel,
    PinnedFrames,
    current_context,
    free_pinned,
)
from edge.detector.letterbox import letterbox, place
from edge.detector.tensorrt import TensorRt
from edge.errors import PlanRefused
from engines.kernel import compile_kernel
from tests.gpu.plans import FOREIGN, bundle_with

if TYPE_CHECKING:
    from typing_extensions import Self

FULL_HD = (1920, 1080)
NETWORK = InputSpec(width=640, height=640, letterbox="centered", pad=114)
COPIED_BYTES = 256 << 20
"""More than any cache holds."""
POLICIES = ("centered", "top-left", "stretch")


compiled_kernel = functools.cache(compile_kernel)


class Bench:
    """A device with the kernel loaded, in its context until the end."""

    def __init__(self) -> None:
        self.device = Device()
        self.cuda = self.device.cuda
        self._current = self.device.current()

    def __enter__(self) -> Self:
        self._current.__enter__()
        self.cubin = compiled_kernel(self.device.compute_capability)
        self.kernel = LetterboxKernel(self.device, self.cubin, NETWORK)
        self.stream = self.cuda.Stream()
        return self

    def __exit__(self, *error: object) -> None:
        del self.kernel, self.stream
        self._current.__exit__(*error)
        self.device.release()

    def upload(self, image: np.ndarray) -> DeviceMemory:
        memory = DeviceMemory(self.device, image.nbytes)
        self.cuda.memcpy_htod_async(memory.address, image, self.stream)
        self.stream.synchronize()
        return memory

    def milliseconds(self, work: Any, rounds: int) -> float:
        """Return the median time of `work` on the stream, by the GPU's clock."""
        times = []
        for _ in range(rounds + 3):
            before, after = self.cuda.Event(), self.cuda.Event()
            before.record(self.stream)
            work()
            after.record(self.stream)
            after.synchronize()
            times.append(after.time_since(before))
        return float(np.median(times[3:]))


def letterboxed(bench: Bench, spec: InputSpec, images: list[np.ndarray]) -> np.ndarray:
    """Return what the kernel makes of a batch of frames: uint8 (B, H, W, 3)."""
    kernel = LetterboxKernel(bench.device, bench.cubin, spec)
    frames = [bench.upload(image) for image in images]
    out = np.empty((len(images), spec.height, spec.width, 3), np.uint8)
    memory = DeviceMemory(bench.device, out.nbytes)
    places = [place((image.shape[1], image.shape[0]), spec) for image in images]
    addresses = [frame.address for frame in frames]
    kernel.launch(bench.stream, list(zip(addresses, places, strict=True)), memory.address)
    bench.cuda.memcpy_dtoh_async(out, memory.address, bench.stream)
    bench.stream.synchronize()
    for part in (*frames, memory):
        part.free()
    return out


def kernel(cases: int) -> dict[str, object]:
    """Hold the kernel to the CPU letterbox over random sizes and contents, in batches of 1 to 4."""
    rng = np.random.default_rng(0)
    worst, pixels, off = 0, 0, 0
    with Bench() as bench:
        for case in range(cases):
            spec = InputSpec(
                width=int(rng.integers(8, 1281)),
                height=int(rng.integers(8, 1281)),
                letterbox=POLICIES[case % len(POLICIES)],
                pad=int(rng.integers(0, 256)),
            )
            sizes = rng.integers(1, 2200, (1 + case % 4, 2))
            images = [rng.integers(0, 256, (h, w, 3), np.uint8) for w, h in sizes.tolist()]
            found = letterboxed(bench, spec, images)
            wanted = np.stack([letterbox(image, spec)[0] for image in images])
            difference = np.abs(found.astype(np.int16) - wanted)
            worst = max(worst, int(difference.max()))
            pixels, off = pixels + difference.size, off + int((difference > 0).sum())
    assert worst <= 1, f"the kernel is {worst} grey levels off the CPU letterbox"
    return {"cases": cases, "worst_grey_levels": worst, "share_off_by_one": round(off / pixels, 4)}


def speed(batch: int, rounds: int) -> dict[str, object]:
    """Time 1080p to 640 against the copy bandwidth; bytes are those of the memory lines touched."""
    with Bench() as bench:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (FULL_HD[1], FULL_HD[0], 3), np.uint8)
        frames = [bench.upload(image) for _ in range(batch)]
        out = DeviceMemory(bench.device, batch * NETWORK.width * NETWORK.height * 3)
        placed = place(FULL_HD, NETWORK)
        where = [(frame.address, placed) for frame in frames]
        took = bench.milliseconds(
            lambda: bench.kernel.launch(bench.stream, where, out.address), rounds
        )
        bandwidth = copy_bandwidth(bench, rounds)
        moved = batch * (rows_read(placed.size_wh[1]) * FULL_HD[0] * 3) + out.nbytes
        floor = moved / bandwidth * 1e3
        for part in (*frames, out):
            part.free()
    return {
        "batch": batch,
        "kernel_us": round(took * 1e3, 2),
        "copy_GB_s": round(bandwidth / 1e9, 1),
        "moved_MB": round(moved / 1e6, 2),
        "floor_us": round(floor * 1e3, 2),
        "share_of_floor": round(floor / took, 3),
    }


def rows_read(height: int) -> int:
    """Return how many of a 1080p frame's rows a bilinear resize to `height` needs."""
    numerators = (2 * np.arange(height) + 1) * FULL_HD[1] - height
    first, rest = np.divmod(np.maximum(numerators, 0), 2 * height)
    second = np.minimum(first + (rest > 0), FULL_HD[1] - 1)
    return len(np.union1d(first, second))


def copy_bandwidth(bench: Bench, rounds: int) -> float:
    """Return bytes read and written in a second by a copy within the GPU's memory."""
    source, target = (DeviceMemory(bench.device, COPIED_BYTES) for _ in range(2))
    cuda, stream = bench.cuda, bench.stream
    took = bench.milliseconds(
        lambda: cuda.memcpy_dtod_async(target.address, source.address, COPIED_BYTES, stream),
        rounds,
    )
    source.free()
    target.free()
    return 2 * COPIED_BYTES / took * 1e3


def others(rounds: int) -> dict[str, object]:
    """Time resizes of others, one 1080p frame to 640 x 360, where they are installed."""
    found: dict[str, object] = {}
    try:
        import torch
        from torchvision.transforms import v2
    except ImportError as error:
        found["torchvision"] = f"not run: {error}"
    else:
        frame = torch.randint(0, 256, (3, FULL_HD[1], FULL_HD[0]), dtype=torch.uint8, device="cuda")
        resize = v2.Resize((360, 640), antialias=False)
        times = []
        for _ in range(rounds + 3):
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record()
            resize(frame)
            after.record()
            after.synchronize()
            times.append(before.elapsed_time(after))
        found["torchvision_us"] = round(float(np.median(times[3:])) * 1e3, 2)
    import cv2

    frame = np.random.default_rng(0).integers(0, 256, (FULL_HD[1], FULL_HD[0], 3), np.uint8)
    started = time.perf_counter()
    for _ in range(rounds):
        letterbox(frame, NETWORK)
    found["cpu_letterbox_us"] = round((time.perf_counter() - started) / rounds * 1e6, 1)
    found["cv2_cuda"] = f"{cv2.cuda.getCudaEnabledDeviceCount()} devices for this OpenCV"
    return found


def overlap(rounds: int) -> dict[str, object]:
    """Upload a batch while the kernel works on another: the time of both against their sum."""
    batch = 8
    with Bench() as bench:
        uploads = bench.cuda.Stream()
        size = FULL_HD[0] * FULL_HD[1] * 3
        pinned = [bench.device.pinned(size, np.uint8) for _ in range(batch)]
        targets = [DeviceMemory(bench.device, size) for _ in range(batch)]
        frames = [DeviceMemory(bench.device, size) for _ in range(batch)]
        out = DeviceMemory(bench.device, batch * NETWORK.width * NETWORK.height * 3)
        where = [(frame.address, place(FULL_HD, NETWORK)) for frame in frames]

        def upload() -> None:
            for target, host in zip(targets, pinned, strict=True):
                bench.cuda.memcpy_htod_async(target.address, host, uploads)

        def compute(times: int) -> None:
            for _ in range(times):
                bench.kernel.launch(bench.stream, where, out.address)

        def wall(*work: Any) -> float:
            spent = []
            for _ in range(rounds + 3):
                started = time.perf_counter()
                for one in work:
                    one()
                uploads.synchronize()
                bench.stream.synchronize()
                spent.append(time.perf_counter() - started)
            return float(np.median(spent[3:]) * 1e3)

        alone = wall(upload)
        # As many launches as take about as long as the uploads: the network's place is taken by it.
        launches = max(1, round(alone / max(wall(lambda: compute(10)) / 10, 1e-3)))
        computing = wall(lambda: compute(launches))
        both = wall(upload, lambda: compute(launches))
        for part in (*targets, *frames, out):
            part.free()
        for host in pinned:
            free_pinned(host)
    return {
        "upload_ms": round(alone, 3),
        "compute_ms": round(computing, 3),
        "both_ms": round(both, 3),
        "hidden": round((alone + computing - both) / min(alone, computing), 3),
    }


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
    grown = free[0] - free[-1]
    assert grown <= 1 << 20, f"{grown} bytes of the GPU's memory were lost in {cycles} cycles"
    return {
        "cycles": cycles,
        "gpu_bytes_lost": grown,
        "host_kb_grown": resident[-1] - resident[0],
    }


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
        device = Device()
        runtime = TensorRt(load_bundle(bundle_with(plan, version, device)))
        device.release()
        try:
            runtime.open()
        except PlanRefused as error:
            refused[name] = error.message.partition(": ")[2]
        else:
            raise AssertionError(f"a plan that is {name} was not refused")
    return {"version": version, "refused": refused}


def about() -> dict[str, object]:
    """Say what GPU, driver and CUDA this is."""
    with Bench() as bench:
        device = bench.device
        return {
            "device": device.name,
            "compute_capability": device.compute_capability,
            "cuda_of_driver": device.cuda_version,
            "integrated": device.integrated,
            "python": sys.version.split()[0],
        }


PARTS = {
    "about": lambda _: about(),
    "kernel": lambda given: kernel(given.cases),
    "speed1": lambda given: speed(1, given.rounds),
    "speed8": lambda given: speed(8, given.rounds),
    "others": lambda given: others(given.rounds),
    "overlap": lambda given: overlap(given.rounds),
    "hygiene": lambda given: hygiene(given.cycles),
    "pycuda": lambda _: pycuda(),
    "lean": lambda _: lean(),
}


def main(words: list[str] | None = None) -> None:
    """Run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cycles", type=int, default=1000)
    given = parser.parse_args(words)
    print(json.dumps({given.part: PARTS[given.part](given)}))


if __name__ == "__main__":
    main()
