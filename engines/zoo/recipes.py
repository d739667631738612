"""How each network is trained: on which cut-outs, for how long, and what it writes in the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from engines.zoo import faster_rcnn, faster_rcnn_loss, yolo, yolo_loss
from engines.zoo.dataset import Dataset, Jitter, jittered
from engines.zoo.finished import FINISHED, LABELS_FILE
from engines.zoo.yolo_loss import Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from torch import nn

    from engines.zoo.training import Sizes

    Batch = tuple[torch.Tensor, list[Truth]]

_YOLO_WH, _FASTER_RCNN_WH = (384, 224), (640, 384)
_LITTLE: dict[str, Any] = {"zoom": (0.9, 1.1), "stretch": 0.04, "gain": 0.15, "tint": 0.06}


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network is trained: from which share of the steps on cut-outs of which size.

    Cut-outs first: as many things are learned from in a second, in more steps.
    """

    network: Callable[[int], nn.Module]
    loss: Callable[..., dict[str, torch.Tensor]]
    write: Callable[[nn.Module, Sequence[str], Path], None]
    """Writes a network and its labels into the file that `finished.FINISHED` names."""
    whole_wh: tuple[int, int]
    """The input size it is trained for."""
    sizes: Sizes
    steps: int
    batch: int
    rate: float

    def largest_only(self) -> Sizes:
        """Return the sizes for weights that have learned from smaller cut-outs already."""
        return ((0.0, self.sizes[-1][1]),)


def _write_onnx(network: nn.Module, labels: Sequence[str], path: Path) -> None:
    yolo.export(network, _YOLO_WH, labels, str(path))


def _write_halves(network: nn.Module, _labels: Sequence[str], path: Path) -> None:
    """Write a state_dict in half precision: half as large, and rounded far less than by INT8."""
    halves = {
        name: value.half() if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    torch.save(halves, path)


RECIPES = {
    "yolo": Recipe(
        yolo.Yolo, yolo_loss.loss, _write_onnx, _YOLO_WH,
        ((0.0, (192, 128)), (0.45, (256, 160)), (0.7, _YOLO_WH)), 3200, 16, 2e-3,
    ),
    "faster-rcnn": Recipe(
        faster_rcnn.FasterRcnn, faster_rcnn_loss.loss, _write_halves, _FASTER_RCNN_WH,
        ((0.0, (224, 160)), (0.7, (448, 288))), 2400, 8, 1e-3,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Batches:
    """Batches of `count` frames of a data set, each changed as far as its step says."""

    data: Dataset
    count: int
    jitter_at: Callable[[int], Jitter]

    def __call__(self, step: int, size_wh: tuple[int, int], chance: np.random.Generator) -> Batch:
        """Return frames, RGB uint8 (B, 3, H, W), and what is true of each."""
        picked = chance.integers(0, len(self.data), self.count)
        jitter = self.jitter_at(step)
        samples = [jittered(self.data[int(number)], size_wh, jitter, chance) for number in picked]
        pixels = np.stack([sample.image[:, :, ::-1] for sample in samples])
        frames = torch.from_numpy(pixels.copy()).permute(0, 3, 1, 2)
        truths = [
            Truth(*(torch.from_numpy(a) for a in (one.boxes, one.labels, one.ignored)))
            for one in samples
        ]
        return frames, truths


def settling(whole_wh: tuple[int, int], first: float) -> Callable[[int], Jitter]:
    """Return how far frames are changed at a step: from step `first` on a little only."""
    much, little = Jitter(whole_wh), Jitter(whole_wh, **_LITTLE)
    return lambda step: little if step >= first else much


def losses(recipe: Recipe, device: str, network: nn.Module, batch: Batch) -> dict[str, Any]:
    """Return the recipe's losses of a batch, by name, on the device."""
    frames, truths = batch
    there = [Truth(*(a.to(device) for a in (t.boxes, t.labels, t.ignored))) for t in truths]
    return recipe.loss(network, frames.to(device), there)


def write(name: str, network: nn.Module, labels: Sequence[str], folder: Path) -> Path:
    """Write what `engines.zoo.build` and `edge-build-engine` read; return the model's file."""
    path = folder / FINISHED[name].model
    (folder / LABELS_FILE).write_text("\n".join(labels) + "\n", encoding="utf-8")
    RECIPES[name].write(network, labels, path)
    return path
