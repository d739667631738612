"""What a real GPU does with our kernel and memory: `tests/gpu/run` starts it, docs/gpu.md keeps it.

Each part prints one JSON object, and fails with an exception where something is wrong. None but
`pipeline` needs a full TensorRT.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge.detector.bundle import InputSpec, load_bundle
from edge.detector.cuda import DeviceMemory, LetterboxKernel, free_pinned
from edge.detector.detector import Prepared, UnderWay
from edge.detector.letterbox import letterbox, place
from edge.detector.tensorrt import TensorRt
from tests.gpu import contexts, others
from tests.gpu.bench import FULL_HD, NETWORK, Bench, copy_bandwidth, milliseconds

POLICIES = ("centered", "top-left", "stretch")
SECTOR_BYTES = 32
"""What a GPU reads from memory at least."""
BATCHES = 4
"""Batches of frames that a launch takes in turn: as in a pipeline, none is in a cache yet."""


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
    """Time 1080p to 640 against the time that a copy takes for as many bytes of memory."""
    with Bench() as bench:
        rng = np.random.default_rng(0)
        image = rng.integers(0, 256, (FULL_HD[1], FULL_HD[0], 3), np.uint8)
        frames = [[bench.upload(image) for _ in range(batch)] for _ in range(BATCHES)]
        out = DeviceMemory(bench.device, batch * NETWORK.width * NETWORK.height * 3)
        placed = place(FULL_HD, NETWORK)

        def launch(*batches: int) -> None:
            for index in batches:
                where = [(frame.address, placed) for frame in frames[index]]
                bench.kernel.launch(bench.stream, where, out.address)

        took = milliseconds(
            bench.device,
            bench.stream,
            lambda: launch(0),
            rounds,
            before=lambda: launch(*range(1, BATCHES)),
        )
        bandwidth = copy_bandwidth(bench, rounds)
        moved = batch * sectors_read(FULL_HD, placed.size_wh) * SECTOR_BYTES + out.nbytes
        floor = moved / bandwidth * 1e3
        for part in (*itertools.chain(*frames), out):
            part.free()
    return {
        "batch": batch,
        "kernel_us": round(took * 1e3, 2),
        "copy_GB_s": round(bandwidth / 1e9, 1),
        "moved_MB": round(moved / 1e6, 2),
        "floor_us": round(floor * 1e3, 2),
        "share_of_floor": round(floor / took, 3),
    }


def sectors_read(frame_wh: tuple[int, int], size_wh: tuple[int, int]) -> int:
    """Return how many sectors of a frame hold pixels that weigh something in a bilinear resize."""
    columns, rows = (weighing(f, s) for f, s in zip(frame_wh, size_wh, strict=True))
    bytes_ = (rows[:, np.newaxis] * frame_wh[0] + columns) * 3
    return len(np.union1d(bytes_ // SECTOR_BYTES, (bytes_ + 2) // SECTOR_BYTES))


def weighing(pixels: int, size: int) -> np.ndarray:
    """Return the pixels of one axis that weigh something where it is resized to `size`."""
    numerators = np.maximum((2 * np.arange(size) + 1) * pixels - size, 0)
    first, rest = np.divmod(numerators, 2 * size)
    return np.union1d(first, np.minimum(first + (rest > 0), pixels - 1))


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


def pipeline(path: Path, rounds: int) -> dict[str, object]:
    """Time frames from the camera's hand to their detections, against upload and engine alone."""
    bundle = load_bundle(path)
    spec = bundle.passport.input
    image = np.random.default_rng(0).integers(0, 256, (FULL_HD[1], FULL_HD[0], 3), np.uint8)
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, spec, bundle.passport.thresholds.default)

        def frames(count: int) -> float:
            started = time.perf_counter()
            for _ in range(count):
                pixels, placement = runtime.prepare(image, spec)
                under_way.begin([Prepared(None, placement, pixels)])
                if under_way.full:
                    under_way.finish()
            while under_way:
                under_way.finish()
            return (time.perf_counter() - started) / count * 1e3

        frames(20)
        whole = frames(rounds)
        engine, upload = engine_and_upload(runtime, image.nbytes, rounds)
    return {
        "runtime": runtime.describe(),
        "frame_ms": round(whole, 4),
        "engine_ms": round(engine, 4),
        "upload_ms": round(upload, 4),
        "beyond_engine_and_upload_ms": round(whole - engine - upload, 4),
        "engine_to_frame": round(engine / whole, 4),
    }


def engine_and_upload(runtime: TensorRt, nbytes: int, rounds: int) -> tuple[float, float]:
    """Return the milliseconds of the plan alone, and of one frame's way to the GPU."""
    gpu = runtime._opened()
    device = gpu.device
    with device.current():
        engine = milliseconds(device, gpu.stream, lambda: gpu.plan.enqueue(1, gpu.stream), rounds)
        host, target = device.pinned(nbytes, np.uint8), DeviceMemory(device, nbytes)
        upload = milliseconds(
            device,
            gpu.uploads,
            lambda: device.cuda.memcpy_htod_async(target.address, host, gpu.uploads),
            rounds,
        )
        target.free()
        free_pinned(host)
    return engine, 0.0 if device.integrated else upload


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
    "others": lambda given: others.resizes(given.rounds),
    "overlap": lambda given: overlap(given.rounds),
    "hygiene": lambda given: contexts.hygiene(given.cycles),
    "pycuda": lambda _: contexts.pycuda(),
    "lean": lambda _: contexts.lean(),
    "pipeline": lambda given: pipeline(given.bundle, given.rounds),
}


def main(words: list[str] | None = None) -> None:
    """Run one part."""
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--bundle", type=Path, help="with a plan for this GPU: for `pipeline`")
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--cycles", type=int, default=1000)
    given = parser.parse_args(words)
    print(json.dumps({given.part: PARTS[given.part](given)}))


if __name__ == "__main__":
    main()
