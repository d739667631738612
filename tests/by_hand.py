"""What a family's own scripts do with a network's outputs, in numpy, to compare with."""

from __future__ import annotations

import tempfile

import numpy as np
import onnx
import onnxruntime

from engines import contract
from engines.inspection import Order, understand


def understood(folder, model, **asked):
    """Write the model to a file and understand it."""
    path = folder / "model.onnx"
    onnx.save(model, path)
    return understand(Order(model=path, name="model", version="1", **asked))


def simplified(model):
    """Return the graph as an exporter that simplifies leaves it: nothing is left to fold."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.log_severity_level = 3
    with tempfile.NamedTemporaryFile(suffix=".onnx") as file:
        options.optimized_model_filepath = file.name
        onnxruntime.InferenceSession(model.SerializeToString(), options)
        return onnx.load(file.name)


def frame(size_wh, seed=0):
    """Return a frame of blocks of random colour: noise that survives strides; uint8 (H, W, 3)."""
    width, height = size_wh
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    return np.kron(blocks, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def session(model):
    """Run a model in ONNX Runtime as it is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def detected(adapted, pixels):
    """Return the contract graph's used slots on one frame: boxes, scores, labels."""
    boxes, scores, labels = session(adapted.graph).run(None, {"frames": pixels[None]})
    used = scores[0] > 0
    return boxes[0][used], scores[0][used], labels[0][used]


def suppressed(boxes, scores, labels, iou, slots=None):
    """Return the indices, best first, of what greedy NMS per label keeps of the best `slots`."""
    slots = slots or contract.slots_for(len(scores), suppressing=True)
    order = [i for i in np.argsort(-scores, kind="stable")[:slots] if scores[i] >= contract.FLOOR]
    ranked, named = np.asarray(boxes, np.float64)[order], np.asarray(labels)[order]
    double = (overlaps(ranked) > iou) & (named[:, None] == named)
    kept = []
    for i in range(len(order)):
        if not double[i, kept].any():
            kept.append(i)
    return np.array(order, int)[kept]


def overlaps(boxes):
    """Return the IoU of all pairs of boxes xyxy, (N, N); without area it is 0."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    shared = np.clip(high - low, 0, None).prod(2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(1)
    union = areas[:, None] + areas - shared
    return np.where(union > 0, shared / np.where(union > 0, union, 1), 0)


def assert_same(found, boxes, scores, labels):
    """Hold detections, best first, to the expected ones, of which there must be some."""
    assert len(scores) > 3
    assert len(found[1]) == len(scores)
    np.testing.assert_allclose(found[1], scores, atol=1e-4)
    np.testing.assert_array_equal(found[2], labels)
    np.testing.assert_allclose(found[0], boxes, atol=0.05)
