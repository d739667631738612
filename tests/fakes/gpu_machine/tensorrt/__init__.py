"""The double of TensorRT, as a module."""

from the_gpu import GPU

from tests.fakes.tensorrt import module
from tests.plans import TENSORRT

globals().update({k: v for k, v in vars(module(TENSORRT, GPU)).items() if k != "__name__"})
