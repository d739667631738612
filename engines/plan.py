"""A TensorRT plan from a bundle's graph: the only build-time file that imports TensorRT.

From TensorRT 10 on the network is strongly typed: the graph says what is INT8 (Q/DQ), float16 and
float32. TensorRT 8.6 is told with flags, and per layer that the tail is float32.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, SupportsInt

from edge.board import this_board
from edge.errors import MissingPackage
from engines.build_log import BuildLog
from engines.contract import FRAMES
from engines.errors import BuildError
from engines.half import half, without_quantisation
from engines.tail_layers import named, tail_layers
from engines.timing_cache import keep_timings, use_timings

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx
    import tensorrt as trt

    from edge.detector.cuda import Device

    Progress = Callable[[str, int, int], None]
    Precision = Literal["int8", "fp16"]

log = logging.getLogger(__name__)

_STRONGLY_TYPED_SINCE = 10
_MEGABYTE = 1 << 20
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Limits:
    """What a build may use."""

    max_batch: int
    beside: Path
    """Where the timing cache and the builder's logs go: `{beside}.timing-cache` and so on."""
    workspace_mb: int | None = None
    """Memory that tactics may take; None: half of what is free on the GPU."""
    dla: int | None = None
    """Core of the deep learning accelerator to run on what it can; None: the GPU alone."""

    @property
    def batch(self) -> int:
        """Largest batch of the plan: a DLA takes one size only."""
        return 1 if self.dla is not None else self.max_batch

    @property
    def timings(self) -> Path:
        """What the builder measured, for the next build."""
        return self.beside.with_name(f"{self.beside.name}.timing-cache")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A plan, and how its build went."""

    precision: Precision
    plan: bytes
    warnings: tuple[str, ...]
    dla: dict[str, Any]


def tensorrt_version() -> str:
    """Return TensorRT's version; call it only where a CUDA driver has answered.

    Raises `MissingPackage` without TensorRT.
    """
    try:
        import tensorrt as trt
    except ImportError as error:
        raise MissingPackage(
            f"TensorRT cannot be used: {error}", this_board().remedy("tensorrt")
        ) from error
    version: str = trt.__version__
    return version


def compile_plan(
    graph: onnx.ModelProto, precision: Precision, limits: Limits, device: Device, progress: Progress
) -> Compiled:
    """Compile a contract graph with Q/DQ pairs, which FP16 leaves out, for this device.

    The calling thread must own `device`. Raises `BuildError` with the builder's reason.
    """
    import tensorrt as trt

    at_least_10 = int(tensorrt_version().partition(".")[0]) >= _STRONGLY_TYPED_SINCE
    path = limits.beside.with_name(f"{limits.beside.name}.{precision}.log")
    with device.current(), BuildLog(path) as said:
        logger = _logger(said)
        builder = _builder(logger, said)
        if at_least_10:
            flag = trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
        else:
            flag = trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
        network = builder.create_network(1 << int(flag))
        ready = named(graph if precision == "int8" else without_quantisation(graph))
        _parse(network, half(ready) if at_least_10 else ready, logger, said)
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)  # the tail's float32 has all of its bits
        _tell_types(network, config, precision, ready)
        stop = threading.Event()
        _watch(config, lambda *told: progress(f"compiling {precision}: {told[0]}", *told[1:]), stop)
        _let_batch_vary(builder, config, ready, limits.batch)
        free_bytes: int = device.cuda.mem_get_info()[0]
        workspace = limits.workspace_mb * _MEGABYTE if limits.workspace_mb else free_bytes // 2
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace)
        use_timings(config, limits.timings)
        dla = _use_dla(builder, network, config, limits.dla)
        plan = _interruptible(lambda: _serialized(builder, network, config), stop)
        if plan is None:
            raise BuildError(
                f"TensorRT cannot compile the {precision} plan: {said.reason()}",
                "free memory on the GPU, or give --workspace MB; the log is beside the bundle",
            )
        keep_timings(config, limits.timings)
    return Compiled(precision, plan, said.warnings(), dla)


def _builder(logger: trt.ILogger, said: BuildLog) -> trt.Builder:
    import tensorrt as trt

    try:
        return trt.Builder(logger)
    except TypeError as error:  # how its bindings say that there is none
        raise BuildError(
            f"TensorRT {trt.__version__} cannot build here: {said.reason()}",
            "install the TensorRT that is made for this driver, or a newer driver",
        ) from error


def _serialized(
    builder: trt.Builder, network: trt.INetworkDefinition, config: trt.IBuilderConfig
) -> bytes | None:
    plan = builder.build_serialized_network(network, config)
    return None if plan is None else bytes(plan)


def _interruptible(build: Callable[[], bytes | None], stop: threading.Event) -> bytes | None:
    """Build on a thread, so that Ctrl-C is heard here: an exception inside TensorRT would abort.

    CUDA gives that thread the device's primary context by itself: the one that `device` has.
    """
    with ThreadPoolExecutor(1, "builder") as pool:
        building = pool.submit(build)
        try:
            while not building.done():
                wait([building], _WAIT_S)
        except KeyboardInterrupt:
            stop.set()  # and leaving the pool waits for the builder to end
            raise
    return building.result()


def _parse(
    network: trt.INetworkDefinition, graph: onnx.ModelProto, logger: trt.ILogger, said: BuildLog
) -> None:
    import tensorrt as trt

    parser = trt.OnnxParser(network, logger)
    if parser.parse(graph.SerializeToString()):
        return
    first: trt.ParserError = parser.get_error(0)
    raise BuildError(
        f"TensorRT cannot read the graph: {first.desc() or said.reason()}",
        "compile it with the TensorRT that is meant for this board, or report the model",
    )


def _let_batch_vary(
    builder: trt.Builder, config: trt.IBuilderConfig, graph: onnx.ModelProto, largest: int
) -> None:
    """Allow batches from 1 to `largest`, fastest for one frame, as one camera gives it."""
    import tensorrt as trt

    frames = next(value for value in graph.graph.input if value.name == FRAMES)
    batch, *shape = (int(size.dim_value) for size in frames.type.tensor_type.shape.dim)
    if batch:  # it is written into the graph
        return
    profile = builder.create_optimization_profile()
    one, most = trt.Dims([1, *shape]), trt.Dims([largest, *shape])
    profile.set_shape(FRAMES, one, one, most)
    config.add_optimization_profile(profile)


def _tell_types(
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    precision: Precision,
    graph: onnx.ModelProto,
) -> None:
    """Tell TensorRT 8.6 what later ones read from the graph: all may be FP16 but the tail."""
    import tensorrt as trt

    at_least_10 = hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED")
    if not at_least_10:
        config.set_flag(trt.BuilderFlag.FP16)
        config.set_flag(trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS)
        if precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
        for layer in tail_layers(network, graph):
            floats = [
                i
                for i in range(layer.num_outputs)
                if layer.get_output(i).dtype == trt.DataType.FLOAT
            ]
            if floats:
                layer.precision = trt.DataType.FLOAT
            for i in floats:
                layer.set_output_type(i, trt.DataType.FLOAT)


def _use_dla(
    builder: trt.Builder,
    network: trt.INetworkDefinition,
    config: trt.IBuilderConfig,
    core: int | None,
) -> dict[str, Any]:
    """Put on a DLA what can run there; return what cannot: TensorRT itself would not say."""
    import tensorrt as trt

    if core is None:
        return {}
    if core >= builder.num_DLA_cores:
        raise BuildError(
            f"--dla {core}: this device has {builder.num_DLA_cores} DLA cores for this TensorRT",
            "leave --dla out",
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    falls_back = [layer.name for layer in layers if not config.can_run_on_DLA(layer)]
    on_dla = len(layers) - len(falls_back)
    log.warning("DLA %d takes %d of %d layers", core, on_dla, len(layers))
    return {"core": core, "layers": on_dla, "on_gpu": falls_back}


def _logger(said: BuildLog) -> trt.ILogger:
    import tensorrt as trt

    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
        trt.ILogger.INFO: logging.INFO,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in levels:
                said.take(levels[severity], msg)

    return Logger()


def _watch(config: trt.IBuilderConfig, progress: Progress, stop: threading.Event) -> None:
    """Have the builder tell how far it is, and end at `stop`: it can from TensorRT 10 on."""
    import tensorrt as trt

    at_least_10 = hasattr(trt, "IProgressMonitor")
    if at_least_10:
        steps: dict[str, int] = {}

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(
                self, phase_name: str, parent_phase: str, num_steps: SupportsInt
            ) -> None:
                steps[phase_name] = int(num_steps)
                if not parent_phase:
                    progress(phase_name, 0, int(num_steps))

            def phase_finish(self, phase_name: str) -> None:
                steps.pop(phase_name, None)

            def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
                if phase_name == next(iter(steps), None):
                    progress(phase_name, int(step) + 1, steps[phase_name])
                return not stop.is_set()

        config.progress_monitor = Monitor()
    else:
        progress("it takes minutes", 0, 1)
