"""A TensorRT plan on an NVIDIA GPU: the only run-time file that imports TensorRT.

The life of a frame, from top to bottom of this file: a camera's thread puts it in page-locked
memory (`prepare`); the detector's thread has it uploaded, letterboxed by a kernel straight into the
network's input, run through the plan, and its detections sent back (`submit`), all without waiting;
then it waits for these (`_collect`). Uploads have a stream of their own, so that a batch travels
while the one before it is run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from edge.board import this_board
from edge.errors import DeviceLost, MissingPackage, OutOfDeviceMemory, PlanRefused, RuntimeFailure

from .bundle import KERNEL, PLAN
from .cuda import MAX_FRAMES, Device, DeviceMemory, LetterboxKernel, PinnedFrames, free_pinned
from .letterbox import place
from .preflight import COMPILE, plan_spec, refuse_foreign
from .runtime import RawDetections, Runtime

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import tensorrt as trt

    from edge.frame import Image

    from .bundle import Bundle, InputSpec
    from .cuda import CudaEvent
    from .letterbox import Placement

log = logging.getLogger(__name__)

INPUT = "frames"


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
        self.max_batch = self._gpu.max_batch
        self._description = (
            f"tensorrt {spec.tensorrt}, {device.name}, {spec.precision}, "
            f"batches of up to {self.max_batch}"
        )

    def prepare(self, image: Image, spec: InputSpec) -> tuple[Image, Placement]:
        """Put a frame where the GPU can fetch it; the letterbox is done there."""
        held = self._pinned.hold(image)
        return held, place((image.shape[1], image.shape[0]), spec)

    def submit(self, images: Sequence[Image], spec: InputSpec) -> Callable[[], RawDetections]:
        """Begin a batch of frames as `prepare` gave them; return what waits for its outputs."""
        gpu = self._opened()
        slot = gpu.next_slot(len(images))
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
        return partial(self._collect, gpu, slot, len(images))

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
        slot = gpu.next_slot(len(frames))
        with gpu.device.current():
            pixels = np.ascontiguousarray(frames)
            gpu.device.cuda.memcpy_htod_async(gpu.memory[INPUT].address, pixels, gpu.stream)
            gpu.run(slot, len(frames))
        return self._collect(gpu, slot, len(frames))

    def _collect(self, gpu: _Gpu, slot: _Slot, batch: int) -> RawDetections:
        with gpu.device.current():
            slot.done.synchronize()
        slot.images = []
        boxes, scores, labels = (
            slot.outputs[name][:batch].copy() for name in ("boxes", "scores", "labels")
        )
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
                del gpu  # streams, events and the plan end here, in the context they belong to
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
    """What one batch under way needs for itself; there are as many as batches under way."""

    outputs: dict[str, npt.NDArray[Any]]
    """Page-locked, of the largest batch."""
    uploaded: CudaEvent
    done: CudaEvent
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
        self._log, self._runtime, self._engine = _load(device, bundle)
        self._shape = (bundle.passport.input.height, bundle.passport.input.width, 3)
        self.max_batch = _check_contract(self._engine, self._shape, bundle)
        self._context = _execution_context(self._engine, self._log)
        self._batch = 0
        self.stream, self.uploads = cuda.Stream(), cuda.Stream()
        self.kernel = LetterboxKernel(
            device, bundle.file(KERNEL).read_bytes(), bundle.passport.input
        )
        outputs = _outputs(self.max_batch, bundle.passport.max_detections)
        nbytes = {INPUT: self.max_batch * int(np.prod(self._shape))} | {
            name: int(np.prod(shape)) * dtype.itemsize for name, (shape, dtype) in outputs.items()
        }
        self.memory = {name: DeviceMemory(device, size) for name, size in nbytes.items()}
        for name, memory in self.memory.items():
            self._context.set_tensor_address(name, memory.address)
        waits = cuda.event_flags.DISABLE_TIMING | cuda.event_flags.BLOCKING_SYNC
        self._slots = [
            _Slot(
                {name: device.pinned(shape, dtype) for name, (shape, dtype) in outputs.items()},
                uploaded=cuda.Event(cuda.event_flags.DISABLE_TIMING),
                done=cuda.Event(waits),
            )
            for _ in range(TensorRt.in_flight)
        ]

    def next_slot(self, batch: int) -> _Slot:
        """Return the slot whose batch was waited for longest ago."""
        if not 1 <= batch <= self.max_batch:
            raise ValueError(f"tensorrt: expected 1 to {self.max_batch} frames, got {batch}")
        self._slots.append(self._slots.pop(0))
        return self._slots[-1]

    def run(self, slot: _Slot, batch: int) -> None:
        """Run the plan on the first `batch` frames of its input and send the outputs back."""
        import tensorrt as trt

        if batch != self._batch:
            self._context.set_input_shape(INPUT, trt.Dims([batch, *self._shape]))
            self._batch = batch
        if not self._context.execute_async_v3(self.stream.handle):
            raise DeviceLost(
                f"{self.device.name}: the plan did not run: {self._log.reason()}",
                "start again; if it stays, run `edge verify` on the bundle",
            )
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
        # In this order: each lives in the one after it.
        del self._context, self._engine, self._runtime


def _outputs(batch: int, slots: int) -> dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]:
    """Return shape and dtype of the contract's outputs."""
    return {
        "boxes": ((batch, slots, 4), np.dtype(np.float32)),
        "scores": ((batch, slots), np.dtype(np.float32)),
        "labels": ((batch, slots), np.dtype(np.int32)),
    }


def _load(device: Device, bundle: Bundle) -> tuple[_Log, trt.Runtime, trt.ICudaEngine]:
    """Return the plan, loaded; TensorRT sees it only once the passport says that it fits."""
    try:
        import tensorrt as trt
    except ImportError as error:
        raise MissingPackage(
            f"TensorRT cannot be used: {error}", this_board().remedy("tensorrt")
        ) from error
    plan = bundle.file(PLAN).read_bytes()
    refuse_foreign(bundle, plan, trt.__version__, device.compute_capability)
    log_ = _Log()
    logger = _logger(log_)
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise PlanRefused(f"{bundle.file(PLAN)}: TensorRT refuses it: {log_.reason()}", COMPILE)
    return log_, runtime, engine


def _check_contract(engine: trt.ICudaEngine, shape: tuple[int, ...], bundle: Bundle) -> int:
    """Return the largest batch of the plan; raise `PlanRefused` if it is no contract graph's."""
    import tensorrt as trt

    slots = bundle.passport.max_detections
    kinds = {
        trt.DataType.UINT8: np.dtype(np.uint8),
        trt.DataType.FLOAT: np.dtype(np.float32),
        trt.DataType.INT32: np.dtype(np.int32),
    }
    wanted = {INPUT: (shape, np.dtype(np.uint8))} | {
        name: (full[1:], dtype) for name, (full, dtype) in _outputs(1, slots).items()
    }
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        sizes: tuple[int, ...] = engine.get_tensor_shape(name)[1:]
        found[name] = (sizes, kinds.get(engine.get_tensor_dtype(name)))
    if found != wanted:
        raise PlanRefused(f"{bundle.file(PLAN)}: expected tensors {wanted}, found {found}", COMPILE)
    largest: int = engine.get_tensor_profile_shape(INPUT, 0)[2][0]
    return min(largest, MAX_FRAMES)


def _execution_context(engine: trt.ICudaEngine, log_: _Log) -> trt.IExecutionContext:
    context = engine.create_execution_context()
    if context is None:
        raise OutOfDeviceMemory(
            f"TensorRT cannot make room to run the plan: {log_.reason()}",
            "stop what else uses its memory: nvidia-smi shows it, on a Jetson tegrastats",
        )
    return context


class _Log:
    """Keeps what TensorRT complained of last, for the error that follows."""

    def __init__(self) -> None:
        self._last = ""

    def take(self, level: int, message: str) -> None:
        log.log(level, "TensorRT: %s", message)
        if level >= logging.ERROR:
            self._last = message

    def reason(self) -> str:
        return " ".join(self._last.split()) or "it gave no reason"


def _logger(taken: _Log) -> trt.ILogger:
    import tensorrt as trt

    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            taken.take(levels.get(severity, logging.DEBUG), msg)

    return Logger()
