"""Aisle Edge at run time: frames in, per-aisle detections out."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("aisle-edge")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+source"
