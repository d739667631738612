"""The double of pycuda's driver, as a module."""

from the_gpu import GPU

import edge.detector.cuda

edge.detector.cuda._libcuda = GPU.libcuda
globals().update(vars(GPU.driver()))
