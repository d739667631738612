"""A float contract graph and frames in, INT8 graphs that still detect out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import encoding_cpu
from .errors import CalibrationError
from .fold import fold
from .groups import groups, integer_nodes, sources
from .observe import observe
from .prelude import find_prelude
from .ranges import choose
from .topology import Topology

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx

    Progress = Callable[[str, int, int], None]
    """Told (what is being done, how many are done, of how many)."""


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One calibration, written in the encodings of the runtimes."""

    cpu: onnx.ModelProto
    """Unsigned asymmetric activations, a Q behind every body op: what ONNX Runtime fuses."""
    tensorrt: onnx.ModelProto | None
    """Symmetric int8 at the inputs of convolutions: what TensorRT fuses."""
    report: dict[str, Any]
    """For the passport's `calibration`: plain JSON values."""


def quantise(
    contract: onnx.ModelProto,
    frames: Sequence[npt.NDArray[np.uint8]],
    *,
    progress: Progress | None = None,
) -> Calibrated:
    """Quantise a contract graph on letterboxed frames, uint8 (H, W, 3) BGR each.

    Raises `CalibrationError` for a graph or frames that cannot be calibrated.
    """
    _check(frames)
    tell = progress or (lambda _what, _done, _of: None)
    model = fold(contract)
    topology = Topology(model)
    prelude = find_prelude(topology)
    nodes = integer_nodes(topology, prelude)
    grouped = groups(topology, nodes)
    measured = [name for group in grouped for name in sources(topology, group)]
    histograms = observe(
        model, measured, frames, lambda done: tell("measuring ranges", done, len(frames))
    )
    scales = choose(topology, prelude, grouped, histograms)
    cpu = encoding_cpu.encode(model, topology, prelude, nodes, scales, {})
    report = {
        "frames": len(frames),
        "tensors": len(scales),
        "integer_nodes": len(nodes),
        "float_nodes": len(topology.nodes) - len(nodes),
    }
    return Calibrated(cpu, None, report)


def _check(frames: Sequence[npt.NDArray[np.uint8]]) -> None:
    if not frames:
        raise CalibrationError(
            "calibration frames: expected at least one, found none",
            "give images or a video of what the camera will see",
        )
    for index, frame in enumerate(frames):
        if frame.dtype != np.uint8 or frame.shape != frames[0].shape or frame.shape[2:] != (3,):
            raise CalibrationError(
                f"calibration frame {index}: expected uint8 (H, W, 3) like frame 0 "
                f"{frames[0].shape}, found {frame.dtype} {frame.shape}",
                "letterbox every frame to the network's input",
            )
