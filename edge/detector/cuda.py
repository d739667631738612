"""The GPU: its one context, memory that frames travel in, and the letterbox kernel.

The only run-time file that imports pycuda. What CUDA reports becomes an error of ours in one place,
`Device.current`, which is also the one place where the context is pushed and popped.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.board import this_board
from edge.errors import DeviceLost, MissingPackage, OutOfDeviceMemory, PlanRefused, RuntimeFailure

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from edge.frame import Image

    from .bundle import InputSpec
    from .letterbox import Placement

log = logging.getLogger(__name__)

# pycuda has no types.
CudaEvent = Any
CudaStream = Any

MAX_FRAMES = 32
"""Frames of one launch: as in letterbox.cu."""
FRAME = np.dtype(
    [
        ("pixels", np.uint64),
        ("frame_wh", np.int32, 2),
        ("offset_xy", np.int32, 2),
        ("size_wh", np.int32, 2),
    ]
)
"""One `Frame` of letterbox.cu."""
RUN = 4
"""Pixels of one thread: as in letterbox.cu."""
BLOCK = (32, 8, 1)
"""Threads of a block: a warp writes 32 neighbouring runs of a row."""
PINNED_LIMIT_BYTES = 256 << 20
"""Page-locked memory that frames may take: 41 of 1080p."""
WRITERS_END_S = 1.0
OUT_OF_MEMORY = "stop what else uses its memory: nvidia-smi shows it, on a Jetson tegrastats"


class Device:
    """The first GPU and its primary context; used by the thread that opened it, and closed by it.

    Raises `MissingPackage` without pycuda or a driver, and `RuntimeFailure` without a GPU.
    """

    def __init__(self) -> None:
        self.cuda = _driver()
        try:
            self._device = self.cuda.Device(0)
            self.name: str = self._device.name()
            major, minor = self._device.compute_capability()
            integrated = self.cuda.device_attribute.INTEGRATED
            self.integrated = bool(self._device.get_attribute(integrated))
            """Whether it shares the CPU's memory, as a Jetson does."""
            self._context = self._device.retain_primary_context()
        except self.cuda.Error as error:
            raise RuntimeFailure(
                f"the GPU cannot be used: {error}", "`edge doctor` says what is there"
            ) from error
        self.compute_capability = f"{major}.{minor}"
        version = self.cuda.get_driver_version()
        self.cuda_version = f"{version // 1000}.{version % 1000 // 10}"
        self._owner = threading.get_ident()

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make the context the thread's current one for a while; nothing is left on its stack."""
        if threading.get_ident() != self._owner:
            raise RuntimeError("a GPU's context was used by a thread that does not own it")
        self._context.push()
        try:
            yield
        except self.cuda.MemoryError as error:
            raise OutOfDeviceMemory(
                f"{self.name}: out of memory: {error}", OUT_OF_MEMORY
            ) from error
        except self.cuda.Error as error:
            raise DeviceLost(
                f"{self.name}: {error}",
                "start again; if it stays, look at the kernel's log (dmesg) and restart the device",
            ) from error
        finally:
            self.cuda.Context.pop()

    def pinned(self, shape: int | tuple[int, ...], dtype: npt.DTypeLike) -> Any:  # noqa: ANN401
        """Return a page-locked array that `free_pinned` frees; a Jetson's GPU sees it in place."""
        flags = self.cuda.host_alloc_flags.DEVICEMAP if self.integrated else 0
        return self.cuda.pagelocked_empty(shape, dtype, mem_flags=flags)

    def release(self) -> None:
        """Let go of the context; everything made in it must be gone."""
        before = current_context()
        self._context.detach()
        # pycuda pushes a context that it detaches and counts on CUDA to pop it, which for the
        # primary context CUDA does not: one would be left on the thread's stack each time.
        if current_context() != before:
            _libcuda().cuCtxPopCurrent_v2(ctypes.byref(ctypes.c_void_p()))


def current_context() -> int | None:
    """Return the handle of the calling thread's current CUDA context, or None."""
    handle = ctypes.c_void_p()
    _libcuda().cuCtxGetCurrent(ctypes.byref(handle))
    return handle.value


def _libcuda() -> Any:  # noqa: ANN401 - ctypes has no types for what it loads
    return ctypes.CDLL("libcuda.so.1")


def free_pinned(array: Any) -> None:  # noqa: ANN401
    """Free what `Device.pinned` made; nobody may touch it afterwards."""
    array.base.free()


def _driver() -> Any:  # noqa: ANN401 - pycuda has no types
    board = this_board()
    try:
        import pycuda.driver
    except ImportError as error:
        lacking = "driver" if "libcuda.so" in str(error) else "pycuda"
        raise MissingPackage(f"the GPU needs {lacking}: {error}", board.remedy(lacking)) from error
    try:
        pycuda.driver.init()
    except pycuda.driver.Error as error:
        raise RuntimeFailure(
            f"the CUDA driver finds no GPU: {error}", board.remedy("driver")
        ) from error
    return pycuda.driver


class DeviceMemory:
    """Bytes of the GPU's memory."""

    def __init__(self, device: Device, nbytes: int) -> None:
        self._allocation = device.cuda.mem_alloc(nbytes)
        self.nbytes = nbytes
        self.address = int(self._allocation)

    def free(self) -> None:
        """Free it; nothing on the GPU may use it any more."""
        self._allocation.free()


class PinnedFrames:
    """Page-locked buffers that camera threads put frames in, so that the GPU can fetch them itself.

    A buffer is lent as an array, and is free again when nobody holds that array any more: a frame
    that is dropped unseen gives its buffer back like one that was detected.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._free: dict[int, list[Image]] = {}
        self._missed: set[int] = set()
        self._addresses: dict[int, int] = {}
        """Where the GPU sees a buffer that it shares with the CPU, by where the CPU does."""
        self._bytes = 0
        self._limit = PINNED_LIMIT_BYTES
        self._writers = 0
        self._closed = False

    def hold(self, image: Image) -> Image:
        """Return a page-locked copy of a frame, or the frame itself until there is a buffer for it.

        Any thread may call it.
        """
        with self._changed:
            if self._closed:
                return image
            free = self._free.get(image.nbytes)
            if not free:
                self._missed.add(image.nbytes)
                return image
            buffer = free.pop()
            self._writers += 1
        held: Image = buffer.reshape(image.shape)
        weakref.finalize(held, self._give_back, buffer).atexit = False
        try:
            np.copyto(held, image)
        finally:
            with self._changed:
                self._writers -= 1
                self._changed.notify_all()
        return held

    def _give_back(self, buffer: Image) -> None:
        with self._changed:
            if not self._closed:
                self._free[buffer.nbytes].append(buffer)

    def provide(self, device: Device) -> None:
        """Make one more buffer of each size that was missing, within the limit.

        The owner of the device calls it, in its context.
        """
        with self._changed:
            missed, self._missed = self._missed, set()
        for nbytes in missed:
            if self._bytes + nbytes <= self._limit:
                self._add(device, nbytes)

    def _add(self, device: Device, nbytes: int) -> None:
        try:
            buffer = device.pinned(nbytes, np.uint8)
        except device.cuda.MemoryError as error:
            log.warning("frames get no more page-locked memory, and are uploaded slower: %s", error)
            self._limit = self._bytes
            return
        self._bytes += nbytes
        if device.integrated:
            self._addresses[buffer.ctypes.data] = buffer.base.get_device_pointer()
        with self._changed:
            self._free.setdefault(nbytes, []).append(buffer)

    def shared_address(self, image: Image) -> int | None:
        """Return where the GPU sees a held frame without any copy; None: it has to be uploaded."""
        return self._addresses.get(image.ctypes.data)

    def close(self) -> None:
        """Free what is free, once nobody writes; frames still held are let go of by their holders.

        The owner of the device calls it, in its context.
        """
        with self._changed:
            self._closed = True
            if not self._changed.wait_for(lambda: not self._writers, WRITERS_END_S):
                log.warning("a camera still writes a frame while the GPU is let go of")
            free = [buffer for buffers in self._free.values() for buffer in buffers]
            self._free.clear()
            self._addresses.clear()
        for buffer in free:
            free_pinned(buffer)


class LetterboxKernel:
    """letterbox.cu, compiled: brings frames in the GPU's memory to the network's input."""

    def __init__(self, device: Device, cubin: bytes, spec: InputSpec) -> None:
        try:
            self._module = device.cuda.module_from_buffer(cubin)
            self._kernel = self._module.get_function("letterbox")
        except (device.cuda.LogicError, device.cuda.RuntimeError) as error:
            raise PlanRefused(
                f"the letterbox kernel does not load: {error}",
                "compile it here: edge-build-engine --plan BUNDLE",
            ) from error
        self._kernel.prepare([f"{MAX_FRAMES * FRAME.itemsize}s", "P", "i", "i", "i"])
        self._spec = spec

    def launch(
        self,
        stream: CudaStream,
        frames: Sequence[tuple[int, Placement]],
        out: int,
    ) -> None:
        """Letterbox frames, each its address and place, into uint8 (B, H, W, 3) at `out`."""
        width, height = self._spec.resolution_wh
        grid = grid_of(self._spec, len(frames))
        self._kernel.prepared_async_call(
            grid, BLOCK, stream, described(frames).tobytes(), out, width, height, self._spec.pad
        )


def grid_of(spec: InputSpec, batch: int) -> tuple[int, int, int]:
    """Return the blocks of a launch that writes `batch` inputs."""
    width, height = spec.resolution_wh
    across, down, _ = BLOCK
    return -(-width // (across * RUN)), -(-height // down), batch


def described(frames: Sequence[tuple[int, Placement]]) -> npt.NDArray[np.void]:
    """Return frames as the kernel's `Frames`: `FRAME` (MAX_FRAMES,), zeros behind the last one."""
    table = np.zeros(MAX_FRAMES, FRAME)
    for row, (address, placed) in zip(table, frames, strict=False):
        row["pixels"] = address
        row["frame_wh"] = placed.frame_wh
        row["offset_xy"] = placed.offset_xy
        row["size_wh"] = placed.size_wh
    return table
