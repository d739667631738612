"""A GPU that does everything late: what pycuda's driver gives, as far as `edge` uses it.

Device memory is host memory. Work on a stream waits until somebody waits for it, and reads its
inputs only then: whoever reuses a buffer too early, or forgets an event, gets wrong pixels. A
launch of the letterbox kernel runs the kernel's own source, compiled as C++.
"""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import edge.detector.cuda

ROOT = Path(__file__).parents[2]
CUBIN = b"the letterbox kernel, for this GPU"


class Error(Exception):
    pass


class CudaMemoryError(Error, MemoryError):
    pass


class LogicError(Error):
    pass


class CudaRuntimeError(Error):
    pass


class LaunchError(Error):
    pass


class Gpu:
    """One GPU: its memory, streams and contexts, and what a test says about it."""

    def __init__(self, *, integrated=False, memory=1 << 30, compute_capability=(8, 7)):
        self.integrated = integrated
        self.memory = memory
        self.pinned_memory = memory
        self.compute_capability = compute_capability
        self.allocated = {}
        """Device memory in use, by address."""
        self.pinned = {}
        """Page-locked memory in use, by address."""
        self.streams = {}
        self.retained = 0
        self.lost = False
        self.uploaded_bytes = 0
        self._threads = threading.local()

    @property
    def stack(self):
        """The calling thread's context stack, as the driver has it."""
        return self._of_thread("driver")

    @property
    def pycuda_stack(self):
        """What pycuda believes the stack to be."""
        return self._of_thread("pycuda")

    def _of_thread(self, name):
        if not hasattr(self._threads, name):
            setattr(self._threads, name, [])
        return getattr(self._threads, name)

    def switch(self):
        """Make room for another current context, as pycuda does before it pushes or pops."""
        if self.pycuda_stack:
            self.stack.pop()

    def _pop(self):
        self.switch()
        self.pycuda_stack.pop()
        if self.pycuda_stack:
            self.stack.append(self.pycuda_stack[-1])

    def libcuda(self):
        """Return the driver's own functions, as far as they are called without pycuda."""

        def get_current(handle):
            handle._obj.value = id(self.stack[-1]) if self.stack else None

        return SimpleNamespace(
            cuCtxGetCurrent=get_current, cuCtxPopCurrent_v2=lambda _handle: self.stack.pop()
        )

    def check(self):
        """Fail as the driver does without a current context, or without a GPU."""
        if self.lost:
            raise LogicError("cuStreamSynchronize failed: an illegal memory access was encountered")
        if not self.stack:
            raise LogicError("no current context")

    def allocate(self, nbytes, table):
        self.check()
        limit = self.memory if table is self.allocated else self.pinned_memory
        if sum(map(len, table.values())) + nbytes > limit:
            raise CudaMemoryError("cuMemAlloc failed: out of memory")
        memory = np.full(nbytes, 0xCD, np.uint8)  # nobody may rely on zeros
        table[memory.ctypes.data] = memory
        return memory

    def finish(self):
        """Do all work that waits."""
        for stream in list(self.streams.values()):
            stream.drain()

    def _mine(self, part):
        """Return a class or function of the double for this GPU."""
        if not isinstance(part, type):
            return functools.partial(part, self)
        made = functools.partialmethod(part.__init__, self)
        return type(part.__name__, (part,), {"__init__": made})

    def driver(self):
        """Return `pycuda.driver` for this GPU."""
        driver = ModuleType("pycuda.driver")
        driver.Error, driver.MemoryError = Error, CudaMemoryError
        driver.LogicError, driver.RuntimeError = LogicError, CudaRuntimeError
        driver.LaunchError = LaunchError
        driver.init = lambda flags=0: None
        driver.get_driver_version = lambda: 12060
        driver.device_attribute = SimpleNamespace(INTEGRATED="integrated")
        driver.event_flags = SimpleNamespace(DISABLE_TIMING=2, BLOCKING_SYNC=1)
        driver.host_alloc_flags = SimpleNamespace(DEVICEMAP=2)
        driver.mem_get_info = lambda: (self.memory // 2, self.memory)
        for name, part in {
            "Device": Device,
            "Stream": Stream,
            "Event": Event,
            "mem_alloc": DeviceAllocation,
            "pagelocked_empty": pagelocked_empty,
            "memcpy_htod_async": memcpy_htod_async,
            "memcpy_dtoh_async": memcpy_dtoh_async,
            "memcpy_dtod_async": memcpy_dtod_async,
            "memset_d8_async": memset_d8_async,
            "module_from_buffer": Module,
        }.items():
            setattr(driver, name, self._mine(part))
        driver.Context = SimpleNamespace(
            pop=self._pop,
            synchronize=lambda: (self.check(), self.finish()),
        )
        return driver


class Device:
    def __init__(self, gpu, number):
        self._gpu = gpu

    def name(self):
        return "Fake Orin"

    def compute_capability(self):
        return self._gpu.compute_capability

    def get_attribute(self, attribute):
        return int(self._gpu.integrated)

    def retain_primary_context(self):
        self._gpu.retained += 1
        return Context(self._gpu)


class Context:
    def __init__(self, gpu):
        self._gpu = gpu

    def push(self):
        self._gpu.switch()
        self._gpu.stack.append(self)
        self._gpu.pycuda_stack.append(self)

    def detach(self):
        assert self not in self._gpu.pycuda_stack
        self._gpu.stack.append(self)  # and CUDA does not pop a primary context that is released
        self._gpu.retained -= 1


class Stream:
    def __init__(self, gpu, flags=0):
        gpu.check()
        self._gpu = gpu
        self._waiting = []
        self._done = 0
        self.handle = len(gpu.streams) + 1
        gpu.streams[self.handle] = self

    def do(self, work):
        self._gpu.check()
        self._waiting.append(work)

    def now(self):
        return self._done + len(self._waiting)

    def drain(self, until=None):
        while self._waiting and (until is None or self._done < until):
            self._done += 1
            self._waiting.pop(0)()

    def wait_for_event(self, event):
        self.do(event.reach)

    def synchronize(self):
        self._gpu.check()
        self.drain()


class Event:
    def __init__(self, gpu, flags=0):
        gpu.check()
        self._gpu = gpu
        self._stream = None
        self._at = 0

    def record(self, stream):
        self._stream, self._at = stream, stream.now()
        return self

    def reach(self):
        if self._stream is not None:
            self._stream.drain(self._at)

    def synchronize(self):
        self._gpu.check()
        self.reach()
        return self

    def time_since(self, event):
        return 1.0


class DeviceAllocation:
    def __init__(self, gpu, nbytes):
        self._gpu = gpu
        self._address = gpu.allocate(nbytes, gpu.allocated).ctypes.data

    def __int__(self):
        return self._address

    def free(self):
        self._gpu.check()
        self._gpu.finish()
        del self._gpu.allocated[self._address]


class Pinned(np.ndarray):
    """A page-locked array; its `base` is the allocation."""

    @property
    def base(self):
        return self.allocation


def pagelocked_empty(gpu, shape, dtype, order="C", mem_flags=0):
    shape = shape if isinstance(shape, tuple) else (shape,)
    memory = gpu.allocate(int(np.prod(shape)) * np.dtype(dtype).itemsize, gpu.pinned)
    array = memory.view(dtype).reshape(shape).view(Pinned)
    address = memory.ctypes.data
    array.allocation = SimpleNamespace(
        free=lambda: (gpu.check(), gpu.finish(), gpu.pinned.pop(address)),
        get_device_pointer=lambda: address,
    )
    return array


def memcpy_htod_async(gpu, dest, src, stream):
    assert src.flags.c_contiguous

    def copy():
        gpu.uploaded_bytes += src.nbytes
        ctypes.memmove(int(dest), src.ctypes.data, src.nbytes)

    stream.do(copy)


def memcpy_dtoh_async(gpu, dest, src, stream):
    assert dest.flags.c_contiguous
    stream.do(lambda: ctypes.memmove(dest.ctypes.data, int(src), dest.nbytes))


def memcpy_dtod_async(gpu, dest, src, size, stream):
    stream.do(lambda: ctypes.memmove(int(dest), int(src), size))


def memset_d8_async(gpu, dest, data, count, stream):
    stream.do(lambda: ctypes.memset(int(dest), data, count))


@functools.cache
def kernel():
    """Return letterbox.cu, compiled as C++: launch(grid, block, frames, out, w, h, pad)."""
    if shutil.which("g++") is None:
        pytest.skip("needs g++: apt install g++")
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "letterbox.so"
        command = ["g++", "-O2", "-Wall", "-Wno-unknown-pragmas", "-Werror", "-shared", "-fPIC"]
        command += ["-I", ROOT / "edge" / "detector", "-o", library]
        command += [Path(__file__).with_name("letterbox.cpp")]
        subprocess.run([str(word) for word in command], check=True, timeout=60)
        return ctypes.CDLL(str(library)).launch


class Module:
    def __init__(self, gpu, buffer):
        gpu.check()
        if buffer != CUBIN and not buffer.startswith(b"\x7fELF"):
            raise LogicError("cuModuleLoadDataEx failed: device kernel image is invalid")
        self._gpu = gpu

    def get_function(self, name):
        if name != "letterbox":
            raise LogicError("cuModuleGetFunction failed: named symbol not found")
        return Function()


class Function:
    def prepare(self, arg_types):
        assert arg_types == ["1024s", "P", "i", "i", "i"]
        return self

    def prepared_async_call(self, grid, block, stream, *arguments):
        frames, out, *sizes_and_pad = arguments
        assert len(frames) == 1024
        three = ctypes.c_int * 3
        launch = functools.partial(kernel(), three(*grid), three(*block), frames)
        stream.do(lambda: launch(ctypes.c_void_p(out), *sizes_and_pad))


def install(monkeypatch, gpu, tensorrt):
    """Let `import pycuda.driver` and `import tensorrt` give these."""
    package = ModuleType("pycuda")
    package.driver = gpu.driver()
    for name, module in (
        ("pycuda", package),
        ("pycuda.driver", package.driver),
        ("tensorrt", tensorrt),
    ):
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(edge.detector.cuda, "_libcuda", gpu.libcuda)
