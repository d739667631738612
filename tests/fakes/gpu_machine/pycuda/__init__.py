"""The double of pycuda, as a package."""
