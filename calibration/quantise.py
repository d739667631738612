"""A float contract graph and frames in, INT8 graphs that still detect out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    import numpy.typing as npt
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
    raise NotImplementedError
