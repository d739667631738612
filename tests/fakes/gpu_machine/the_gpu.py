"""A process that has this folder on its path runs on a machine with the doubles' GPU."""

from tests.fakes.gpu import Gpu

GPU = Gpu(integrated=True)
