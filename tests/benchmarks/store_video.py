"""How far a YOLO11n bundle's objects are from those of the float model, run by hand.

    python -m tests.benchmarks.store_video MODEL.onnx VIDEO BUNDLE [BUNDLE ...]

On every 15th frame of the store video (1080p): objects found again, mean shift of a box's corners
in pixels of the frame, mean shift of the scores; for every graph in the bundle that has one.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from edge.detector.agreement import match
from edge.detector.bundle import PORTABLE_GRAPH, TENSORRT_GRAPH, load_bundle
from edge.detector.detector import decode
from edge.detector.letterbox import letterbox
from edge.detector.onnxruntime import OnnxRuntime
from tests.integration.test_store_video import THRESHOLD, by_hand, video_frames

EVERY = 15
FRAMES = 603


def shifts(graph: Path, spec, frames, reference) -> tuple[np.ndarray, np.ndarray]:
    """Return the corner shift and the score shift of each object that is found again."""
    corners, scores = [], []
    with OnnxRuntime(graph, (spec.height, spec.width, 3)) as runtime:
        for number, frame in frames.items():
            pixels, placement = letterbox(frame, spec)
            found = decode(runtime.infer(pixels[np.newaxis]), 0, placement, THRESHOLD)
            expected = reference[number]
            for here, there, _ in match(expected, found):
                corners.append(np.abs(expected.xyxy[here] - found.xyxy[there]).mean())
                scores.append(abs(expected.scores[here] - found.scores[there]))
    return np.array(corners), np.array(scores)


def main(model: Path, video: Path, folders: list[Path]) -> None:
    """Print a line per graph."""
    frames = video_frames(video, range(0, FRAMES, EVERY))
    for folder in folders:
        bundle = load_bundle(folder)
        reference = by_hand(model, frames, bundle.passport.iou)
        total = sum(len(found) for found in reference.values())
        for part in (PORTABLE_GRAPH, TENSORRT_GRAPH):
            if not (folder / part).exists():
                continue
            corners, scores = shifts(bundle.file(part), bundle.passport.input, frames, reference)
            print(
                f"{folder.name} {part}: {len(corners)} of {total} objects, corners "
                f"{corners.mean():.2f} px, scores {scores.mean():.4f}"
            )


if __name__ == "__main__":
    model, video, *folders = map(Path, sys.argv[1:])
    main(model, video, folders)
