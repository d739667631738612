"""What a detector found in one frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Xyxy = npt.NDArray[np.float32]
"""float32 (N, 4): left, top, right, bottom."""


@dataclass(frozen=True, slots=True)
class Detections:
    """N objects, highest score first, already after NMS.

    `xyxy` float32 (N, 4) in pixels of the frame (not of the network input);
    `scores` float32 (N,), 0..1; `labels` int32 (N,), index into the bundle's labels.
    """

    xyxy: Xyxy
    scores: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]

    def __post_init__(self) -> None:
        n = len(self.scores)
        for name, array, dtype, shape in (
            ("xyxy", self.xyxy, np.float32, (n, 4)),
            ("scores", self.scores, np.float32, (n,)),
            ("labels", self.labels, np.int32, (n,)),
        ):
            if array.dtype != dtype or array.shape != shape:
                raise ValueError(
                    f"Detections.{name}: expected {np.dtype(dtype)} {shape}, "
                    f"got {array.dtype} {array.shape}"
                )

    def __len__(self) -> int:
        return len(self.scores)

    def where(self, keep: npt.NDArray[np.bool_]) -> Detections:
        """Return the detections for which `keep`, bool (N,), is true, in the same order."""
        return Detections(self.xyxy[keep], self.scores[keep], self.labels[keep])

    @classmethod
    def none(cls) -> Detections:
        """Return zero detections."""
        return cls(np.empty((0, 4), np.float32), np.empty(0, np.float32), np.empty(0, np.int32))
