"""The life of a frame on an NVIDIA GPU, from top to bottom of this file.

A camera's thread puts the frame in page-locked memory (`prepare`). The detector's thread has it
uploaded, letterboxed by a kernel straight into the network's input, run through the plan, and its
detections sent back (`submit`), all without waiting; later it waits for these (`_collect`).

There are two streams, because work on one stream is done in its order: on a single one, the upload
of a batch would wait for the inference of the batch before. So uploads have their own, and
everything behind them is on the other, where an event keeps the kernel behind its uploads.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.errors import DeviceLost, RuntimeFailure

from .bundle import KERNEL
from .cuda import Device, DeviceMemory, LetterboxKernel, PinnedFrames, free_pinned
from .letterbox import place
from .plan import INPUT, OUTPUTS, Plan
from .preflight import plan_spec
from .runtime import Pending, RawDetections, Runtime, nobody

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edge.frame import Image

    from .bundle import Bundle, InputSpec
    from .cuda import CudaEvent
    from .letterbox import Placement

log = logging.getLogger(__name__)


class TensorRt(Runtime):
    """Runs `engine.plan` of a bundle on the first GPU."""

    name = "tensorrt"
    in_flight = 2

    def __init__(self, bundle: Bundle) -> None:
        spec = bundle.passport.input
        super().__init__((spec.height, spec.width, 3))
        self._bundle = bundle
        self._pinned = PinnedFrames()
        self._gpu: _Gpu | None = None
        self._description = "tensorrt, not open"

    def describe(self) -> str:
        """Return for example `tensorrt 10.3.0, Orin, int8, batches of up to 8`."""
        return self._description

    def _open(self) -> None:
        spec = plan_spec(self._bundle)
        device = Device()  # asked before TensorRT is touched: without a driver that crashes
        try:
            with device.current():
                self._gpu = _Gpu(device, self._bundle)
        except BaseException:
            device.release()
            raise
        self._pinned = PinnedFrames()
        self.max_batch = self._gpu.plan.max_batch
        self._description = (
            f"tensorrt {spec.tensorrt}, {device.name}, {spec.precision}, "
            f"batches of up to {self.max_batch}"
        )

    def prepare(self, image: Image, spec: InputSpec) -> tuple[Image, Placement]:
        """Put a frame where the GPU can fetch it; the letterbox is done there."""
        held = self._pinned.hold(image)
        return held, place((image.shape[1], image.shape[0]), spec)

    def submit(
        self, images: Sequence[Image], spec: InputSpec, done: Callable[[], None] = nobody
    ) -> Pending:
        """Begin a batch of frames as `prepare` gave them; nobody is told when it is done."""
        del done
        gpu = self._opened()
        slot = gpu.free_slot(len(images))
        with gpu.device.current():
            self._pinned.provide(gpu.device)
            slot.images = list(images)  # held, so that no camera writes over them meanwhile
            frames = [
                (self._on_device(gpu, slot, index), place((image.shape[1], image.shape[0]), spec))
                for index, image in enumerate(images)
            ]
            slot.uploaded.record(gpu.uploads)
            gpu.stream.wait_for_event(slot.uploaded)
            gpu.kernel.launch(gpu.stream, frames, gpu.memory[INPUT].address)
            gpu.run(slot, len(images))
        return Pending(partial(self._collect, gpu, slot, len(images)))

    def _on_device(self, gpu: _Gpu, slot: _Slot, index: int) -> int:
        """Return where the GPU finds a frame of the batch: shared with the CPU, or on its way."""
        image = slot.images[index]
        shared = self._pinned.shared_address(image)
        if shared is not None:
            return shared
        copy = slot.frame(gpu.device, index, image.nbytes)
        pixels = np.ascontiguousarray(image)
        slot.images[index] = pixels
        gpu.device.cuda.memcpy_htod_async(copy.address, pixels, gpu.uploads)
        return copy.address

    def _infer(self, frames: npt.NDArray[np.uint8]) -> RawDetections:
        """Run frames that are letterboxed already: golden's, and the bare plan's in a benchmark."""
        gpu = self._opened()
        slot = gpu.free_slot(len(frames))
        with gpu.device.current():
            slot.images = [np.ascontiguousarray(frames)]
            gpu.device.cuda.memcpy_htod_async(gpu.memory[INPUT].address, slot.images[0], gpu.stream)
            gpu.run(slot, len(frames))
        return self._collect(gpu, slot, len(frames))

    def _collect(self, gpu: _Gpu, slot: _Slot, batch: int) -> RawDetections:
        with gpu.device.current():
            slot.done.synchronize()
        boxes, scores, labels = (slot.outputs[name][:batch].copy() for name in OUTPUTS)
        slot.images = []
        slot.is_free = True
        return RawDetections(boxes, scores, labels)

    def _close(self) -> None:
        if self._gpu is None:
            return
        gpu, self._gpu = self._gpu, None
        device = gpu.device
        try:
            with device.current():
                device.cuda.Context.synchronize()
                gpu.let_go_of_frames()
                self._pinned.close()
                gpu.free()
                del gpu  # streams and events end here, in the context they belong to
        except DeviceLost as error:
            log.warning("closing: %s", error)
        finally:
            device.release()

    def _opened(self) -> _Gpu:
        if self._gpu is None:
            raise RuntimeFailure("tensorrt: used before open()", "open the runtime first")
        return self._gpu


@dataclass(slots=True)
class _Slot:
    """What one batch under way needs for itself; the network's own memory is one for all."""

    outputs: dict[str, npt.NDArray[Any]]
    """Page-locked, of the largest batch."""
    uploaded: CudaEvent
    done: CudaEvent
    is_free: bool = True
    images: list[Image] = field(default_factory=list)
    frames: list[DeviceMemory] = field(default_factory=list)

    def frame(self, device: Device, index: int, nbytes: int) -> DeviceMemory:
        """Return memory for frame `index` of the batch; made once, unless frames grow."""
        while len(self.frames) <= index:
            self.frames.append(DeviceMemory(device, nbytes))
        if self.frames[index].nbytes < nbytes:
            self.frames[index].free()
            self.frames[index] = DeviceMemory(device, nbytes)
        return self.frames[index]


class _Gpu:
    """The plan, its memory and its streams: made once, in the context, before the first frame."""

    def __init__(self, device: Device, bundle: Bundle) -> None:
        cuda = device.cuda
        self.device = device
        self.plan = Plan(device, bundle)
        self.stream, self.uploads = cuda.Stream(), cuda.Stream()
        self.kernel = LetterboxKernel(
            device, bundle.file(KERNEL).read_bytes(), bundle.passport.input
        )
        self.memory = {
            name: DeviceMemory(device, self.plan.max_batch * int(np.prod(shape)) * dtype.itemsize)
            for name, (shape, dtype) in self.plan.tensors.items()
        }
        for name, memory in self.memory.items():
            self.plan.bind(name, memory.address)
        # One more than frames travel in: for `_infer`, which may come between.
        self._slots = [self._slot() for _ in range(TensorRt.in_flight + 1)]

    def _slot(self) -> _Slot:
        cuda, tensors = self.device.cuda, self.plan.tensors
        return _Slot(
            {
                name: self.device.pinned((self.plan.max_batch, *shape), dtype)
                for name, (shape, dtype) in tensors.items()
                if name in OUTPUTS
            },
            uploaded=cuda.Event(cuda.event_flags.DISABLE_TIMING),
            done=cuda.Event(cuda.event_flags.DISABLE_TIMING | cuda.event_flags.BLOCKING_SYNC),
        )

    def free_slot(self, batch: int) -> _Slot:
        """Take a slot that no batch under way uses."""
        if not 1 <= batch <= self.plan.max_batch:
            raise ValueError(f"tensorrt: expected 1 to {self.plan.max_batch} frames, got {batch}")
        slot = next((slot for slot in self._slots if slot.is_free), None)
        if slot is None:
            raise RuntimeError(f"tensorrt: {len(self._slots)} batches are under way already")
        slot.is_free = False
        return slot

    def run(self, slot: _Slot, batch: int) -> None:
        """Run the plan on the first `batch` frames of its input and send the outputs back."""
        self.plan.enqueue(batch, self.stream)
        for name, host in slot.outputs.items():
            self.device.cuda.memcpy_dtoh_async(host[:batch], self.memory[name].address, self.stream)
        slot.done.record(self.stream)

    def let_go_of_frames(self) -> None:
        """Forget the frames of batches that nobody waited for."""
        for slot in self._slots:
            slot.images = []

    def free(self) -> None:
        """Free the memory; nothing may be under way."""
        for memory in (*self.memory.values(), *(f for slot in self._slots for f in slot.frames)):
            memory.free()
        for slot in self._slots:
            for host in slot.outputs.values():
                free_pinned(host)
        self.plan.close()
