"""The same resize, 1080p to 640 x 360, as others do it, where they are installed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edge.detector.letterbox import letterbox
from tests.gpu.bench import FULL_HD, NETWORK, SWEPT_BYTES, WARM_UP

if TYPE_CHECKING:
    from collections.abc import Callable

SIZE = (640, 360)


def resizes(rounds: int) -> dict[str, object]:
    """Return the microseconds of one frame, by who resizes it."""
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (FULL_HD[1], FULL_HD[0], 3), np.uint8)
    return {
        "torchvision_us": torchvision(frame, rounds),
        "cv2_cuda_us": cv2_cuda(frame, rounds),
        "cv2_on_the_cpu_us": microseconds(lambda: letterbox(frame, NETWORK), rounds),
    }


def torchvision(frame: np.ndarray, rounds: int) -> object:
    """Resize on the GPU with torchvision, timed as `bench.milliseconds` does."""
    try:
        import torch
        from torchvision.transforms import v2
    except ImportError as error:
        return f"not run: {error}"
    pixels = torch.from_numpy(frame).permute(2, 0, 1).contiguous().cuda()
    resize = v2.Resize(SIZE[::-1], antialias=False)
    swept = torch.empty(SWEPT_BYTES, dtype=torch.uint8, device="cuda")
    times = []
    for _ in range(rounds + WARM_UP):
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        swept.zero_()
        began.record()
        resize(pixels)
        ended.record()
        ended.synchronize()
        times.append(began.elapsed_time(ended))
    return round(float(np.median(times[WARM_UP:])) * 1e3, 2)


def cv2_cuda(frame: np.ndarray, rounds: int) -> object:
    """Resize on the GPU with OpenCV, many in a row on one stream."""
    import cv2

    if not cv2.cuda.getCudaEnabledDeviceCount():
        return f"not run: OpenCV {cv2.__version__} sees no CUDA device"
    source, target, stream = cv2.cuda.GpuMat(), cv2.cuda.GpuMat(), cv2.cuda.Stream()
    source.upload(frame)

    def row() -> None:
        for _ in range(rounds):
            cv2.cuda.resize(source, SIZE, dst=target, stream=stream)
        stream.waitForCompletion()

    return round(microseconds(row, WARM_UP) / rounds, 2)


def microseconds(work: Callable[[], object], rounds: int) -> float:
    """Return the median time of `work` by the CPU's clock, warm."""
    times = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return round(float(np.median(times[1:])) * 1e6, 1)
