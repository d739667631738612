"""Bring a frame to the network's input and its boxes back to the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge.detections import Xyxy
    from edge.detector.bundle import InputSpec
    from edge.frame import Image


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a frame of `frame_wh` pixels lies in the network input.

    input pixel = frame pixel * `scale_xy` + `offset_xy`.
    """

    frame_wh: tuple[int, int]
    scale_xy: tuple[float, float]
    offset_xy: tuple[int, int]
    size_wh: tuple[int, int]
    """Size of the resized frame inside the input, pixels."""

    def to_frame(self, xyxy: Xyxy) -> Xyxy:
        """Map boxes, float32 (N, 4), from input pixels to frame pixels, clipped to the frame."""
        scale = np.array(self.scale_xy * 2, np.float32)
        offset = np.array(self.offset_xy * 2, np.float32)
        limit = np.array(self.frame_wh * 2, np.float32)
        boxes: Xyxy = np.clip((xyxy - offset) / scale, 0, limit)
        return boxes


def place(frame_wh: tuple[int, int], spec: InputSpec) -> Placement:
    """Say where a frame goes: aspect kept and centred or top left, or stretched to fill."""
    width, height = spec.resolution_wh
    if spec.letterbox == "stretch":
        scale = (width / frame_wh[0], height / frame_wh[1])
        return Placement(frame_wh, scale, (0, 0), (width, height))
    ratio = min(width / frame_wh[0], height / frame_wh[1])
    size = (
        min(width, max(1, round(frame_wh[0] * ratio))),
        min(height, max(1, round(frame_wh[1] * ratio))),
    )
    offset = (0, 0)
    if spec.letterbox == "centered":
        # The odd pixel of the bars goes right and below, as where these models were trained.
        offset = ((width - size[0]) // 2, (height - size[1]) // 2)
    return Placement(frame_wh, (ratio, ratio), offset, size)


def letterbox(image: Image, spec: InputSpec) -> tuple[Image, Placement]:
    """Return the network input, uint8 (H, W, 3) BGR, and where the frame lies in it."""
    import cv2

    placed = place((image.shape[1], image.shape[0]), spec)
    (left, top), (width, height) = placed.offset_xy, placed.size_wh
    canvas = np.empty((spec.height, spec.width, 3), np.uint8)
    # Only the bars are filled: the rest is written by the resize.
    canvas[:top] = spec.pad
    canvas[top + height :] = spec.pad
    canvas[top : top + height, :left] = spec.pad
    canvas[top : top + height, left + width :] = spec.pad
    inner = canvas[top : top + height, left : left + width]
    if (width, height) == placed.frame_wh:
        inner[:] = image
    else:
        cv2.resize(image, (width, height), dst=inner, interpolation=cv2.INTER_LINEAR)
    return canvas, placed
