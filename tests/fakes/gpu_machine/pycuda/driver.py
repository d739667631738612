"""The double of pycuda's driver, as a module."""

from the_gpu import GPU

globals().update(vars(GPU.driver()))
