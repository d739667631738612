"""Models whose boxes, if they have any, are not all that they give: what says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engines.errors import ModelError
from engines.reading import embedded_nms
from engines.reading.batch import SYMBOL

if TYPE_CHECKING:
    from engines.reading.model import Network

_ULTRALYTICS = {"segment", "pose", "obb", "classify", "semantic", "depth"}
"""What Ultralytics calls them in its metadata."""
_REMEDY = "train and export the detection model of the same family"
_CLASSIFIES, _ROWS, _MAPS = 2, 3, 4
"""Ranks: scores of labels, a candidate per row or column, masks."""


def refuse_stated(network: Network) -> None:
    """Raise `ModelError` where its metadata says that the model is for another task."""
    task = network.source.metadata.get("task")
    if task in _ULTRALYTICS:
        raise ModelError(
            f"model {network.source.path}: its metadata says task {task!r}, expected 'detect': a "
            "bundle reports boxes, scores and labels only",
            _REMEDY,
        )


def refuse_seen(network: Network) -> None:
    """Raise `ModelError` where the outputs of a network of no known family are of another task."""
    if task := _task(network):
        raise ModelError(
            f"model {network.source.path}: outputs {network.outputs}: {task}; a bundle reports "
            "boxes, scores and labels only",
            _REMEDY,
        )


def _task(network: Network) -> str | None:
    shapes = sorted(network.outputs.values(), key=len)
    if [len(shape) for shape in shapes] == [_ROWS, _MAPS] and shapes[1][1] != 1:
        return "rows beside maps that are parts of masks, so it is for segmentation"
    if len(shapes) != 1 or embedded_nms.embedded(network.source.model) is not None:
        return None
    (shape,) = shapes
    if len(shape) == _CLASSIFIES and shape[0] in (1, SYMBOL) and isinstance(shape[1], int):
        return "one row and no boxes, so it is for classification"
    return None
