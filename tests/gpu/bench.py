"""The device with the kernel loaded, and how long work on it takes by its own clock."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from edge.detector.bundle import InputSpec
from edge.detector.cuda import Device, DeviceMemory, LetterboxKernel
from engines.kernel import compile_kernel

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

    from edge.detector.cuda import CudaStream

FULL_HD = (1920, 1080)
NETWORK = InputSpec(width=640, height=640, letterbox="centered", pad=114)
SWEPT_BYTES = 256 << 20
"""More than any cache holds."""
WARM_UP = 3

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
        """Return a copy of it in the GPU's memory."""
        memory = DeviceMemory(self.device, image.nbytes)
        self.cuda.memcpy_htod_async(memory.address, image, self.stream)
        self.stream.synchronize()
        return memory


def nothing() -> None:
    """Do nothing."""


def milliseconds(
    device: Device,
    stream: CudaStream,
    work: Callable[[], object],
    rounds: int,
    before: Callable[[], object] = nothing,
) -> float:
    """Return the median time of `work` on the stream, by the GPU's clock, from memory, not caches.

    A write over more than the caches hold comes first: it sweeps them, and takes so long that all
    the rest is queued when it ends. Without it the GPU would wait for Python between the two
    events, and that wait would be counted. What `before` queues is not counted.
    """
    cuda, swept, times = device.cuda, DeviceMemory(device, SWEPT_BYTES), []
    for _ in range(rounds + WARM_UP):
        began, ended = cuda.Event(), cuda.Event()
        cuda.memset_d8_async(swept.address, 0, SWEPT_BYTES, stream)
        before()
        began.record(stream)
        work()
        ended.record(stream)
        ended.synchronize()
        times.append(ended.time_since(began))
    swept.free()
    return float(np.median(times[WARM_UP:]))


def copy_bandwidth(bench: Bench, rounds: int) -> float:
    """Return bytes read and written in a second by a copy within the GPU's memory."""
    source, target = (DeviceMemory(bench.device, SWEPT_BYTES) for _ in range(2))

    def copy() -> None:
        bench.cuda.memcpy_dtod_async(target.address, source.address, SWEPT_BYTES, bench.stream)

    took = milliseconds(bench.device, bench.stream, copy, rounds)
    source.free()
    target.free()
    return 2 * SWEPT_BYTES / took * 1e3
