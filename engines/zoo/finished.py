"""What a finished training run leaves in its folder, for `edge-build-engine` to read."""

from __future__ import annotations

from dataclasses import dataclass

LABELS_FILE = "labels.txt"


@dataclass(frozen=True, slots=True)
class Finished:
    """A trained model's file, and what is to be said beside it where the file does not say it."""

    model: str
    size_wh: tuple[int, int] | None = None
    proposals: int | None = None


FINISHED = {
    "yolo": Finished("model.onnx"),
    "faster-rcnn": Finished("model.pth", (640, 384), 200),
}
