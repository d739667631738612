"""A detector small enough to check by eye: a quadrant of the picture is an object if it is bright.

A contract graph made of plain ops, with no weights: the score of each quadrant is its mean
brightness, its box is the quadrant, its label is `box` on the left and `can` on the right.
Used wherever a test wants a whole bundle and knows which detections must come out of it.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 64
LABELS = ("box", "can")
HALF = SIZE // 2
BOXES = np.float32([[x, y, x + HALF, y + HALF] for y in (0, HALF) for x in (0, HALF)])
QUADRANT_LABELS = np.int32([0, 1, 0, 1])
LEVELS = (255, 200, 150, 100)


def graph(gain: float = 1.0) -> onnx.ModelProto:
    """Return the contract graph; `gain` multiplies the scores (0 makes it detect nothing)."""

    def constant(name, value):
        return numpy_helper.from_array(np.asarray(value), name)

    nodes = [
        helper.make_node("Cast", ["frames"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "split"], ["blocks"]),
        helper.make_node("ReduceMean", ["blocks"], ["means"], axes=[2, 4, 5], keepdims=0),
        helper.make_node("Reshape", ["means", "flat"], ["quadrants"]),
        helper.make_node("Mul", ["quadrants", "gain"], ["bright"]),
        helper.make_node("TopK", ["bright", "four"], ["scores", "order"], axis=1),
        helper.make_node("Gather", ["all_boxes", "order"], ["boxes"], axis=0),
        helper.make_node("Gather", ["all_labels", "order"], ["labels"], axis=0),
    ]
    constants = [
        constant("split", np.int64([-1, 2, HALF, 2, HALF, 3])),
        constant("flat", np.int64([-1, 4])),
        constant("gain", np.float32(gain / 255)),
        constant("four", np.int64([4])),
        constant("all_boxes", BOXES),
        constant("all_labels", QUADRANT_LABELS),
    ]

    def tensor(name, kind, *shape):
        return helper.make_tensor_value_info(name, kind, ["batch", *shape])

    body = helper.make_graph(
        nodes,
        "quadrants",
        [tensor("frames", TensorProto.UINT8, SIZE, SIZE, 3)],
        [
            tensor("boxes", TensorProto.FLOAT, 4, 4),
            tensor("scores", TensorProto.FLOAT, 4),
            tensor("labels", TensorProto.INT32, 4),
        ],
        constants,
    )
    return helper.make_model(body, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def picture(*levels: int, size_wh: tuple[int, int] = (SIZE, SIZE)) -> np.ndarray:
    """Return uint8 (H, W, 3): the four quadrants at these brightnesses, row by row."""
    width, height = size_wh
    image = np.zeros((height, width, 3), np.uint8)
    for index, level in enumerate(levels):
        row, column = divmod(index, 2)
        image[
            row * height // 2 : (row + 1) * height // 2,
            column * width // 2 : (column + 1) * width // 2,
        ] = level
    return image


def write_bundle(path: Path, *, gain: float = 1.0, expected_gain: float = 1.0) -> Path:
    """Write a bundle; with `gain` other than `expected_gain` it fails its own golden."""
    path.mkdir(parents=True)
    frames = np.stack([picture(*np.roll(LEVELS, shift)) for shift in range(4)])
    scores = np.stack([np.roll(LEVELS, shift) for shift in range(4)]) / 255 * expected_gain
    order = np.argsort(-scores, axis=1)
    golden = {
        "frames": frames,
        **{
            f"{part}:{name}": value
            for part in ("float", "model.onnx")
            for name, value in {
                "boxes": BOXES[order],
                "scores": np.take_along_axis(scores, order, 1).astype(np.float32),
                "labels": QUADRANT_LABELS[order],
            }.items()
        },
    }
    onnx.save(graph(gain), path / "model.onnx")
    np.savez_compressed(path / "golden.npz", **golden)
    passport = {
        "schema": "aisle-edge/bundle/1",
        "name": "quadrants",
        "version": "1.0.0",
        "family": "test",
        "input": {"width": SIZE, "height": SIZE, "letterbox": "stretch", "pad": 0},
        "labels": list(LABELS),
        "thresholds": {"default": 0.5},
        "iou": 0.5,
        "max_detections": 4,
        "max_batch": 8,
        "files": {
            name: hashlib.sha256((path / name).read_bytes()).hexdigest()
            for name in ("model.onnx", "golden.npz")
        },
    }
    (path / "bundle.json").write_text(json.dumps(passport))
    return path
