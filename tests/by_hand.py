"""What a family's own scripts do with a network's outputs, in numpy, to compare with."""

from __future__ import annotations

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


def frame(size_wh, seed=0):
    """Return a frame of blocks of random colour: noise that survives strides; uint8 (H, W, 3)."""
    width, height = size_wh
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    return np.kron(blocks, np.ones((8, 8, 1)))[:height, :width].astype(np.uint8)


def session(model):
    """Run a model in ONNX Runtime as it is."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def detected(adapted, pixels):
    """Return the contract graph's used slots on one frame: boxes, scores, labels."""
    boxes, scores, labels = session(adapted.graph).run(None, {"frames": pixels[None]})
    used = scores[0] > 0
    return boxes[0][used], scores[0][used], labels[0][used]


def suppressed(boxes, scores, labels, iou, slots=300):
    """Return the indices, best first, of what greedy NMS per label keeps of the best `slots`."""
    order = [i for i in np.argsort(-scores, kind="stable")[:slots] if scores[i] >= contract.FLOOR]
    kept = []
    for i in order:
        if all(labels[i] != labels[j] or overlap(boxes[i], boxes[j]) <= iou for j in kept):
            kept.append(i)
    return np.array(kept, int)


def overlap(one, other):
    """Return the IoU of two boxes xyxy."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    areas = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
    return shared / (areas - shared)


def assert_same(found, boxes, scores, labels):
    """Hold detections, best first, to the expected ones, of which there must be some."""
    assert len(scores) > 3
    assert len(found[1]) == len(scores)
    np.testing.assert_allclose(found[1], scores, atol=1e-4)
    np.testing.assert_array_equal(found[2], labels)
    np.testing.assert_allclose(found[0], boxes, atol=0.05)
