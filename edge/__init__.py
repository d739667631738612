"""Aisle Edge at run time: frames in, per-aisle detections out."""

import os
from importlib.metadata import PackageNotFoundError, version

# Since 1.29 ONNX Runtime tells its makers what runs here, over the Internet, and keeps a database
# in the home directory for it. It looks at this when it is imported, which nobody does before us.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

try:
    __version__ = version("aisle-edge")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+source"
