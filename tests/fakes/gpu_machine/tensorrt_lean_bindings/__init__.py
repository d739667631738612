"""The double of the lean TensorRT runtime, as a module."""

from the_gpu import GPU

from tests.fakes.tensorrt import module

globals().update({k: v for k, v in vars(module("11.4.0.106", GPU)).items() if k != "__name__"})
