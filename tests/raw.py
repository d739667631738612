"""Outputs of a contract graph, written down."""

from __future__ import annotations

import numpy as np

from edge.detector.runtime import RawDetections

SLOTS = 8


def raw_detections(*frames):
    """Return the outputs of frames, each a list of (xyxy, score, label)."""
    boxes = np.zeros((len(frames), SLOTS, 4), np.float32)
    scores = np.zeros((len(frames), SLOTS), np.float32)
    labels = np.zeros((len(frames), SLOTS), np.int32)
    for row, frame in enumerate(frames):
        for slot, (xyxy, score, label) in enumerate(frame):
            boxes[row, slot], scores[row, slot], labels[row, slot] = xyxy, score, label
    return RawDetections(boxes, scores, labels)
