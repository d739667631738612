"""A TensorRT plan, loaded and ready to run: the only run-time file that imports TensorRT."""

from __future__ import annotations

import ctypes
import logging
from typing import TYPE_CHECKING

import numpy as np

from edge.board import this_board
from edge.errors import DeviceLost, MissingPackage, OutOfDeviceMemory, PlanRefused, RuntimeFailure

from .bundle import PLAN
from .cuda import MAX_FRAMES, OUT_OF_MEMORY
from .preflight import COMPILE, refuse_foreign

if TYPE_CHECKING:
    import tensorrt as trt

    from .bundle import Bundle
    from .cuda import CudaStream, Device

    Tensors = dict[str, tuple[tuple[int, ...], np.dtype[np.generic]]]
    """Shape of one frame's share, and dtype, by tensor."""

log = logging.getLogger(__name__)

INPUT = "frames"
OUTPUTS = ("boxes", "scores", "labels")


class Plan:
    """A bundle's plan on a device: tensors are bound to memory once, then batches are run.

    Made, used and closed in the device's context. TensorRT sees the plan only once the passport
    says that it fits: of what is not its own it refuses some, and crashes on some. Raises
    `MissingPackage`, `PlanRefused`, `OutOfDeviceMemory`, or `RuntimeFailure` where TensorRT and the
    driver do not go together.
    """

    def __init__(self, device: Device, bundle: Bundle) -> None:
        self._device = device
        self._said = _Said()
        self.tensors = _contract(bundle)
        self._runtime, self._engine = _load(device, bundle, self._said)
        _check_tensors(self._engine, self.tensors, bundle)
        self.max_batch = min(_largest_batch(self._engine), MAX_FRAMES)
        context = self._engine.create_execution_context()
        if context is None:
            raise OutOfDeviceMemory(
                f"TensorRT cannot make room to run the plan: {self._said.reason()}", OUT_OF_MEMORY
            )
        self._context: trt.IExecutionContext = context
        self._batch = 0

    def bind(self, name: str, address: int) -> None:
        """Say where on the device a tensor lies, for the largest batch."""
        if not self._context.set_tensor_address(name, address):
            raise self._failed(f"does not take memory for {name}")

    def enqueue(self, batch: int, stream: CudaStream) -> None:
        """Have the plan run on the first `batch` frames of its input, after what `stream` holds."""
        import tensorrt as trt

        if batch != self._batch:
            shape = trt.Dims([batch, *self.tensors[INPUT][0]])
            if not self._context.set_input_shape(INPUT, shape):
                raise self._failed(f"does not take a batch of {batch}")
            self._batch = batch
        if not self._context.execute_async_v3(stream.handle):
            raise self._failed("did not run")

    def close(self) -> None:
        """Let go of it, in the context that it was made in; nothing may be under way."""
        # In this order: each lives in the one after it.
        del self._context, self._engine, self._runtime

    def _failed(self, what: str) -> DeviceLost:
        return DeviceLost(
            f"{self._device.name}: the plan {what}: {self._said.reason()}",
            "start again; if it stays, run `edge verify` on the bundle",
        )


def _contract(bundle: Bundle) -> Tensors:
    """Return the tensors that the bundle's passport promises."""
    spec, slots = bundle.passport.input, bundle.passport.max_detections
    return {
        INPUT: ((spec.height, spec.width, 3), np.dtype(np.uint8)),
        "boxes": ((slots, 4), np.dtype(np.float32)),
        "scores": ((slots,), np.dtype(np.float32)),
        "labels": ((slots,), np.dtype(np.int32)),
    }


def _load(device: Device, bundle: Bundle, said: _Said) -> tuple[trt.Runtime, trt.ICudaEngine]:
    try:
        import tensorrt as trt
    except ImportError as error:
        raise MissingPackage(
            f"TensorRT cannot be used: {error}", this_board().remedy("tensorrt")
        ) from error
    plan = bundle.file(PLAN).read_bytes()
    refuse_foreign(bundle, plan, trt.__version__, device)
    try:
        runtime = trt.Runtime(_logger(said))
    except TypeError:  # how its bindings say that there is none
        runtime = None
    if runtime is None or said.complained:
        # Such a one crashes when it is shown a plan, and when it is let go of: so it never is.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(runtime))
        raise RuntimeFailure(
            f"TensorRT {trt.__version__} cannot use {device.name} with the driver of CUDA "
            f"{device.cuda_version}: {said.reason()}",
            "install the TensorRT that is made for this driver, or a newer driver",
        )
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise PlanRefused(f"{bundle.file(PLAN)}: TensorRT refuses it: {said.reason()}", COMPILE)
    return runtime, engine


def _check_tensors(engine: trt.ICudaEngine, wanted: Tensors, bundle: Bundle) -> None:
    """Raise `PlanRefused` unless the plan takes and gives what the passport says."""
    import tensorrt as trt

    kinds = {
        trt.DataType.UINT8: np.dtype(np.uint8),
        trt.DataType.FLOAT: np.dtype(np.float32),
        trt.DataType.INT32: np.dtype(np.int32),
    }
    found = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        sizes: tuple[int, ...] = engine.get_tensor_shape(name)[1:]
        found[name] = (tuple(sizes), kinds.get(engine.get_tensor_dtype(name)))
    if found != wanted:
        raise PlanRefused(f"{bundle.file(PLAN)}: expected tensors {wanted}, found {found}", COMPILE)


def _largest_batch(engine: trt.ICudaEngine) -> int:
    """Return what the plan's profile allows; of a graph with its batch written in, that."""
    fixed: int = engine.get_tensor_shape(INPUT)[0]
    most: int = fixed if fixed > 0 else engine.get_tensor_profile_shape(INPUT, 0)[2][0]
    return most


class _Said:
    """Keeps what TensorRT complained of last, for the error that follows."""

    def __init__(self) -> None:
        self._last = ""

    def take(self, level: int, message: str) -> None:
        log.log(level, "TensorRT: %s", message)
        if level >= logging.ERROR:
            self._last = message

    @property
    def complained(self) -> bool:
        return bool(self._last)

    def reason(self) -> str:
        return " ".join(self._last.split()) or "it gave no reason"


def _logger(said: _Said) -> trt.ILogger:
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
            said.take(levels.get(severity, logging.DEBUG), msg)

    return Logger()
