"""A frame as a JPEG that fits into a message, with boxes if there are any."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.capture.opencv import import_cv2
from edge.reporting.commands import CommandError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detections import Detections
    from edge.frame import Image

LONGEST_SIDE = 1280
"""Pixels."""
_SMALLEST_SIDE = 64
_QUALITIES = (85, 70, 50, 30)
_COLOURS = ((80, 220, 80), (80, 160, 255), (255, 180, 60), (200, 100, 255), (80, 240, 240))
"""BGR, one label after the other."""


def draw(image: Image, found: Detections, labels: Sequence[str]) -> Image:
    """Return a copy of a frame, uint8 (H, W, 3) BGR, with its boxes, labels and scores."""
    cv2 = import_cv2()
    drawn = image.copy()
    size = max(0.4, min(drawn.shape[:2]) / 900)
    line = max(2, round(2 * size))
    for xyxy, score, label in zip(found.xyxy, found.scores, found.labels, strict=True):
        left, top, right, bottom = (round(float(value)) for value in xyxy)
        colour = _COLOURS[int(label) % len(_COLOURS)]
        cv2.rectangle(drawn, (left, top), (right, bottom), colour, line)
        text, where = f"{labels[label]} {score:.2f}", (left, max(top - 4, round(24 * size)))
        cv2.putText(drawn, text, where, cv2.FONT_HERSHEY_SIMPLEX, size, colour, line, cv2.LINE_AA)
    return drawn


def encode(image: Image, most: int) -> tuple[bytes, tuple[int, int]]:
    """Return a JPEG of at most `most` bytes, and its (width, height) in pixels.

    As large and good as that allows, at most `LONGEST_SIDE`. Raises `CommandError` if it is not to
    be had.
    """
    cv2 = import_cv2()
    height, width = image.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(width, height))
    smallest = min(scale, _SMALLEST_SIDE / max(width, height))
    while scale >= smallest:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
        for quality in _QUALITIES:
            done, data = cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])
            if done and len(data) <= most:
                return data.tobytes(), size
        scale /= 2
    raise CommandError(
        f"the picture does not fit into {most} bytes", "raise the broker's maximum packet size"
    )
