"""Write `golden.npz`, as `edge.detector.golden` reads it: frames, and each graph's detections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from edge.detector.runtime import RawDetections
    from edge.frame import Image

FRAMES = 4


def choose(raw: RawDetections, threshold: float) -> list[int]:
    """Return the frames to keep: up to `FRAMES` with detections, spread over all that have some."""
    detecting = np.flatnonzero((raw.scores >= threshold).any(axis=1))
    if len(detecting) <= FRAMES:
        return [int(index) for index in detecting]
    places = np.linspace(0, len(detecting) - 1, FRAMES).round().astype(int)
    return [int(index) for index in detecting[places]]


def write(
    path: Path, frames: Sequence[Image], chosen: Sequence[int], parts: Mapping[str, RawDetections]
) -> None:
    """Write the chosen frames and, for each part, its outputs on them."""
    arrays: dict[str, npt.NDArray[Any]] = {"frames": np.stack([frames[index] for index in chosen])}
    for part, raw in parts.items():
        arrays[f"{part}:boxes"] = raw.boxes[chosen]
        arrays[f"{part}:scores"] = raw.scores[chosen]
        arrays[f"{part}:labels"] = raw.labels[chosen]
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays, allow_pickle=False)
