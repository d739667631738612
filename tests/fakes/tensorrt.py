"""TensorRT, as far as our code uses it: a plan is the graph it was built from, run by ONNX Runtime.

`module` gives what `import tensorrt` would. It has no name that the real one of the same version
lacks: tests/integration/test_tensorrt_api.py holds it to that.
"""

from __future__ import annotations

import json
from enum import Enum, IntEnum
from types import ModuleType

import numpy as np

MAGIC = b"plan of the double "
NUMPY = {
    "UINT8": np.dtype(np.uint8),
    "FLOAT": np.dtype(np.float32),
    "INT32": np.dtype(np.int32),
}


class ILogger:
    class Severity(Enum):
        INTERNAL_ERROR = 0
        ERROR = 1
        WARNING = 2
        INFO = 3
        VERBOSE = 4

    INTERNAL_ERROR = Severity.INTERNAL_ERROR
    ERROR = Severity.ERROR
    WARNING = Severity.WARNING
    INFO = Severity.INFO
    VERBOSE = Severity.VERBOSE

    def __init__(self):
        pass


class DataType(Enum):
    UINT8 = 0
    FLOAT = 1
    INT32 = 2
    HALF = 3


class Dims(tuple):
    __slots__ = ()

    def __new__(cls, shape):
        return super().__new__(cls, shape)


class MemoryPoolType(Enum):
    WORKSPACE = 0
    DLA_GLOBAL_DRAM = 1


class DeviceType(Enum):
    GPU = 0
    DLA = 1


class TensorIOMode(Enum):
    NONE = 0
    INPUT = 1
    OUTPUT = 2


class IProgressMonitor:
    def __init__(self):
        pass


class IHostMemory(bytes):
    @property
    def nbytes(self):
        return len(self)


class ITimingCache:
    def __init__(self, content):
        self._content = content

    def serialize(self):
        return IHostMemory(self._content or b"timings")


class IOptimizationProfile:
    def __init__(self):
        self._shapes = {}

    def set_shape(self, input, min, opt, max):  # noqa: A002
        assert all(isinstance(shape, Dims) for shape in (min, opt, max))
        self._shapes[input] = (min, opt, max)


class ITensor:
    def __init__(self, name, dtype):
        self.name = name
        self.dtype = dtype


class ILayer:
    def __init__(self, name, kind, inputs, outputs):
        self.name = name
        self.num_inputs = len(inputs)
        self.num_outputs = len(outputs)
        self._kind = kind
        self._inputs = inputs
        self._outputs = outputs

    def get_input(self, index):
        return self._inputs[index]

    def get_output(self, index):
        return self._outputs[index]


class WeaklyTypedLayer(ILayer):
    """A layer before TensorRT 11, which may be told its precision."""

    def __init__(self, *what):
        super().__init__(*what)
        self.precision = DataType.FLOAT
        self._output_types = {}

    def set_output_type(self, index, dtype):
        self._output_types[index] = dtype


class INetworkDefinition:
    def __init__(self, flags, layer):
        self._layer = layer
        self._flags = flags
        self._graph = b""
        self._layers = []

    @property
    def num_layers(self):
        return len(self._layers)

    def get_layer(self, index):
        return self._layers[index]


class IBuilderConfig:
    def __init__(self):
        self.default_device_type = DeviceType.GPU
        self.DLA_core = -1
        self._flags = {"TF32"}
        self._limits = {}
        self._profiles = []
        self._cache = None

    def set_flag(self, flag):
        self._flags.add(flag.name)

    def clear_flag(self, flag):
        self._flags.discard(flag.name)

    def set_memory_pool_limit(self, pool, pool_size):
        self._limits[pool] = pool_size

    def add_optimization_profile(self, profile):
        self._profiles.append(profile)
        return len(self._profiles) - 1

    def create_timing_cache(self, serialized_timing_cache):
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache, ignore_mismatch):
        self._cache = cache
        return cache._content in {b"", b"timings"}

    def get_timing_cache(self):
        return self._cache

    def can_run_on_DLA(self, layer):  # noqa: N802
        return layer._kind in {"Conv", "Relu"}


class MonitoredConfig(IBuilderConfig):
    """The configuration since TensorRT 10, which can tell how far it is."""

    def __init__(self):
        super().__init__()
        self.progress_monitor = None


class ParserError:
    def __init__(self, text):
        self._text = text

    def desc(self):
        return self._text


class OnnxParser:
    def __init__(self, network, logger):
        self._network = network
        self._errors = []

    def parse(self, model):
        import onnx
        from google.protobuf.message import DecodeError

        try:
            graph = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(model)).graph
        except DecodeError as error:
            self._errors.append(ParserError(f"no model: {error}"))
            return False
        self._network._graph = model
        kinds = {1: DataType.FLOAT, 10: DataType.HALF}
        known = {v.name: v.type.tensor_type.elem_type for v in (*graph.value_info, *graph.output)}
        known |= {tensor.name: tensor.data_type for tensor in graph.initializer}

        def tensor(name):
            return ITensor(name, kinds.get(known.get(name), DataType.INT32)) if name else None

        def add(name, kind, inputs, outputs):
            layer = self._network._layer(
                name, kind, *(list(map(tensor, n)) for n in (inputs, outputs))
            )
            self._network._layers.append(layer)

        constants = {tensor.name for tensor in graph.initializer}
        for node in graph.node:
            # As the real parser does: constants become layers too, under names of its own.
            for name in constants & set(node.input):
                add(f"{name} + (Unnamed Layer) [Constant]", "Constant", [], [name])
            constants -= set(node.input)
            add(node.name, node.op_type, node.input, node.output)
        return True

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return self._errors[index]


class IExecutionContext:
    def __init__(self, engine):
        self._engine = engine
        self._addresses = {}
        self._shape = None

    def set_tensor_address(self, name, memory):
        self._addresses[name] = memory
        return True

    def set_input_shape(self, name, shape):
        assert isinstance(shape, Dims)
        low, _, high = self._engine.get_tensor_profile_shape(name, 0)
        self._shape = tuple(shape)
        return low[0] <= shape[0] <= high[0]

    def execute_async_v3(self, stream_handle):
        gpu, shape = self._engine._gpu, self._shape
        gpu.check()
        if shape is None or set(self._addresses) != set(self._engine._tensors):
            return False

        def run():
            memory = gpu.allocated
            frames = memory[self._addresses["frames"]][: int(np.prod(shape))].reshape(shape)
            found = self._engine._session.run(None, {"frames": frames.copy()})
            for name, values in zip(("boxes", "scores", "labels"), found, strict=True):
                raw = np.frombuffer(values.tobytes(), np.uint8)
                memory[self._addresses[name]][: len(raw)] = raw

        gpu.streams[stream_handle].do(run)
        return True


class ICudaEngine:
    def __init__(self, gpu, header, graph):
        import onnxruntime

        self._gpu = gpu
        self._max_batch = header["max_batch"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
        kinds = {"tensor(uint8)": "UINT8", "tensor(float)": "FLOAT", "tensor(int32)": "INT32"}
        self._tensors = {
            value.name: (
                [size if isinstance(size, int) else -1 for size in value.shape],
                DataType[kinds[value.type]],
            )
            for value in (*self._session.get_inputs(), *self._session.get_outputs())
        }

    @property
    def num_io_tensors(self):
        return len(self._tensors)

    def get_tensor_name(self, index):
        return list(self._tensors)[index]

    def get_tensor_shape(self, name):
        return Dims(self._tensors[name][0])

    def get_tensor_dtype(self, name):
        return self._tensors[name][1]

    def get_tensor_profile_shape(self, name, profile_index):
        sizes = self._tensors[name][0][1:]
        return [Dims([batch, *sizes]) for batch in (1, 1, self._max_batch)]

    def create_execution_context(self):
        self._gpu.check()
        return IExecutionContext(self)


class Quirks:
    """What a test wants to go otherwise than well."""

    def __init__(self):
        self.warnings = []
        """What the builder warns of."""
        self.fails = ""
        """Why the builder gives nothing."""
        self.built = []
        """(network, config) of every build."""


def module(version, gpu, quirks=None):  # noqa: C901 - two classes that know the GPU
    """Return `tensorrt` of that version, on that GPU."""
    major = int(version.partition(".")[0])
    quirks = quirks or Quirks()
    layer = WeaklyTypedLayer if major < 11 else ILayer
    config = MonitoredConfig if major >= 10 else IBuilderConfig

    class Runtime:
        def __init__(self, logger):
            gpu.check()
            self._logger = logger

        def deserialize_cuda_engine(self, serialized_engine):
            header, _, graph = bytes(serialized_engine).partition(b"\n")
            if not header.startswith(MAGIC):
                self._logger.log(ILogger.ERROR, "Serialization assertion magicTagRead failed")
                return None
            return ICudaEngine(gpu, json.loads(header.removeprefix(MAGIC)), graph)

    class Builder:
        def __init__(self, logger):
            gpu.check()
            self._logger = logger
            self.num_DLA_cores = 2
            self.max_threads = 1

        def create_network(self, flags=0):
            return INetworkDefinition(flags, layer)

        def create_builder_config(self):
            return config()

        def create_optimization_profile(self):
            return IOptimizationProfile()

        def build_serialized_network(self, network, config):
            quirks.built.append((network, config))
            for warning in quirks.warnings:
                self._logger.log(ILogger.WARNING, warning)
            if getattr(config, "progress_monitor", None) is not None:
                config.progress_monitor.phase_start("Building Engine", None, 2)
                config.progress_monitor.step_complete("Building Engine", 0)
                config.progress_monitor.phase_finish("Building Engine")
            if quirks.fails:
                self._logger.log(ILogger.ERROR, quirks.fails)
                return None
            batches = [profile._shapes["frames"][2][0] for profile in config._profiles]
            return plan(network._graph, *(batches or [1]))

    tensorrt = ModuleType("tensorrt")
    tensorrt.__version__ = version
    parts = [ILogger, DataType, Dims, MemoryPoolType, DeviceType, TensorIOMode, IHostMemory]
    parts += [ITimingCache, IOptimizationProfile, INetworkDefinition]
    parts += [OnnxParser, ParserError, ITensor, IExecutionContext, ICudaEngine, Runtime, Builder]
    parts += [IProgressMonitor] if major >= 10 else []
    for part in (*parts, *flags(major)):
        setattr(tensorrt, part.__name__, part)
    tensorrt.ILayer, tensorrt.IBuilderConfig = layer, config
    return tensorrt


def flags(major):
    """Return the flags that a version has."""
    building = {"GPU_FALLBACK": 3, "TF32": 4}
    if major < 11:
        building |= {"FP16": 0, "INT8": 1, "OBEY_PRECISION_CONSTRAINTS": 2}
    creating = {"EXPLICIT_BATCH": 0} if major < 11 else {}
    creating |= {"STRONGLY_TYPED": 1} if major >= 10 else {}
    return (
        Enum("BuilderFlag", building),
        IntEnum("NetworkDefinitionCreationFlag", creating),
    )


def plan(graph, max_batch):
    """Return a plan as the double's builder makes one."""
    return IHostMemory(MAGIC + json.dumps({"max_batch": max_batch}).encode() + b"\n" + graph)
