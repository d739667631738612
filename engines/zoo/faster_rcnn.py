"""A small Faster R-CNN (arXiv 1506.01497) with torchvision's structure and its layers' names.

A ResNet of basic blocks, a feature pyramid, a region proposal network and a box head: what
`fasterrcnn_resnet18_fpn` would be with fewer channels. `engines.faster_rcnn` reads its state_dict
as it reads torchvision's own.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from engines.faster_rcnn.boxes import anchors as anchors_of_map

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of the colours of ImageNet, red first, as torchvision's detectors are fed."""
STRIDES = (4, 8, 16, 32)
SIDES = (32, 64, 128, 256, 512)
_BODY = (16, 32, 64, 112)
_BLOCKS = (1, 2, 2, 2)
_PYRAMID, _HIDDEN = 48, 192
_SHAPES = 3
POOLED, _SAMPLES = 7, 2
_CANONICAL_PX, _CANONICAL_LEVEL = 224, 4


class Regions(NamedTuple):
    """What the region proposal network says of A anchors."""

    anchors: torch.Tensor
    """(A, 4) xyxy in pixels."""
    logits: torch.Tensor
    """(B, A)"""
    deltas: torch.Tensor
    """(B, A, 4)"""
    levels: list[int]
    """Anchors of each map, finest first."""


class Basic(nn.Module):
    """Two convolutions around which the input is carried, as in ResNet-18."""

    def __init__(self, inside: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inside, out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.downsample: nn.Module | None = None
        if stride > 1 or inside != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inside, h, w) to (B, out, h / stride, w / stride)."""
        inner = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        kept = x if self.downsample is None else self.downsample(x)
        return (inner + kept).relu()


class Body(nn.Module):
    """A ResNet, its classifier left out."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _BODY[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(_BODY[0])
        before = _BODY[0]
        for stage, (width, depth) in enumerate(zip(_BODY, _BLOCKS, strict=True), 1):
            first = Basic(before, width, 1 if stage == 1 else 2)
            rest = [Basic(width, width, 1) for _ in range(depth - 1)]
            setattr(self, f"layer{stage}", nn.Sequential(first, *rest))
            before = width

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps at strides 4 to 32."""
        x = functional.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        found = []
        for stage in range(1, len(_BODY) + 1):
            x = getattr(self, f"layer{stage}")(x)
            found.append(x)
        return found


class Pyramid(nn.Module):
    """Every map with what the coarser ones know, and one more, coarser still (1612.03144)."""

    def __init__(self) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, _PYRAMID, 1)) for width in _BODY
        )
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(_PYRAMID, _PYRAMID, 3, 1, 1)) for _ in _BODY
        )

    def forward(self, maps: list[torch.Tensor]) -> list[torch.Tensor]:
        """Return maps of one width, finest first."""
        above: torch.Tensor | None = None
        found: list[torch.Tensor] = []
        for level in reversed(range(len(maps))):
            inner = self.inner_blocks[level](maps[level])
            if above is not None:
                inner = inner + functional.interpolate(above, size=inner.shape[2:], mode="nearest")
            above = inner
            found.insert(0, self.layer_blocks[level](inner))
        return [*found, functional.max_pool2d(found[-1], 1, 2)]


class ProposalHead(nn.Module):
    """Says of every anchor whether it holds a thing, and how it is to be moved."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(_PYRAMID, _PYRAMID, 3, 1, 1), nn.ReLU()))
        self.cls_logits = nn.Conv2d(_PYRAMID, _SHAPES, 1)
        self.bbox_pred = nn.Conv2d(_PYRAMID, 4 * _SHAPES, 1)
        for layer in (self.cls_logits, self.bbox_pred):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: list[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (B, A) and deltas (B, A, 4), cell by cell, finest map first."""
        logits, deltas = [], []
        for one in maps:
            inner = self.conv(one)
            logits.append(self.cls_logits(inner).permute(0, 2, 3, 1).flatten(1))
            moved = self.bbox_pred(inner).permute(0, 2, 3, 1)
            deltas.append(moved.reshape(len(moved), -1, 4))
        return torch.cat(logits, 1), torch.cat(deltas, 1)


class BoxHead(nn.Module):
    """Two linear layers on what was pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.fc6 = nn.Linear(_PYRAMID * POOLED**2, _HIDDEN)
        self.fc7 = nn.Linear(_HIDDEN, _HIDDEN)

    def forward(self, pooled: torch.Tensor) -> torch.Tensor:
        """Map (P, C, 7, 7) to (P, hidden)."""
        return self.fc7(self.fc6(pooled.flatten(1)).relu()).relu()


class Predictor(nn.Module):
    """The label of each proposal, background first, and a correction of its box per label."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.cls_score = nn.Linear(_HIDDEN, classes)
        self.bbox_pred = nn.Linear(_HIDDEN, 4 * classes)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits (P, classes) and deltas (P, classes, 4)."""
        deltas = self.bbox_pred(rows)
        return self.cls_score(rows), deltas.view(len(rows), -1, 4)


class FasterRcnn(nn.Module):
    """The network, its modules under torchvision's names."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"body": Body(), "fpn": Pyramid()})
        self.rpn = nn.ModuleDict({"head": ProposalHead()})
        self.roi_heads = nn.ModuleDict(
            {"box_head": BoxHead(), "box_predictor": Predictor(1 + labels)}
        )

    def maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the pyramid of normalised frames, RGB (B, 3, H, W) with sides that 32 divides."""
        return self.backbone["fpn"](self.backbone["body"](x))

    def regions(self, maps: list[torch.Tensor], size_wh: tuple[int, int]) -> Regions:
        """Return what may hold things."""
        logits, deltas = self.rpn["head"](maps)
        found = [
            anchors_of_map((side,), size_wh, (one.shape[2], one.shape[3]))
            for side, one in zip(SIDES, maps, strict=True)
        ]
        joined = torch.cat([torch.from_numpy(one) for one in found]).to(logits.device)
        return Regions(joined, logits, deltas, [len(one) for one in found])

    def judge(
        self, maps: list[torch.Tensor], boxes: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits and deltas of the boxes (P, 4) of each frame, frame after frame."""
        pooled = pool(maps[: len(STRIDES)], boxes)
        return self.roi_heads["box_predictor"](self.roi_heads["box_head"](pooled))


def normalised(frames: torch.Tensor) -> torch.Tensor:
    """Return RGB uint8 (B, 3, H, W) as the network is fed."""
    mean, std = (torch.tensor(v, device=frames.device).view(1, 3, 1, 1) for v in (MEAN, STD))
    return (frames.float() / 255 - mean) / std


def pool(maps: list[torch.Tensor], boxes: list[torch.Tensor]) -> torch.Tensor:
    """Pool boxes (P, 4) of each frame to (sum of P, C, 7, 7): RoIAlign, without half a pixel.

    Each box is taken from the map of its size (1612.03144, equation 1).
    """
    frame = torch.cat([one.new_full((len(one),), i) for i, one in enumerate(boxes)]).long()
    joined = torch.cat(boxes)
    side = (joined[:, 2:] - joined[:, :2]).clamp(min=0).prod(1).sqrt()
    level = (_CANONICAL_LEVEL + (side / _CANONICAL_PX + 1e-6).log2()).floor().long()
    level = level.clamp(2, 1 + len(maps)) - 2
    parts, places = [maps[0].new_zeros(0, maps[0].shape[1], POOLED, POOLED)], [frame[:0]]
    for index, one in enumerate(maps):
        for number in range(len(boxes)):
            here = ((level == index) & (frame == number)).nonzero()[:, 0]
            if len(here):
                parts.append(_aligned(one[number], joined[here] / STRIDES[index]))
                places.append(here)
    return torch.cat(parts)[torch.cat(places).argsort()]


def _aligned(one: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Sample a map (C, h, w) evenly in boxes (P, 4) of its own pixels, and average 2x2."""
    height, width = one.shape[1:]
    points = POOLED * _SAMPLES
    steps = (torch.arange(points, device=one.device) + 0.5) / points
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0)
    x = (boxes[:, :1] + steps * sides[:, :1]) * (2 / max(1, width - 1)) - 1
    y = (boxes[:, 1:2] + steps * sides[:, 1:]) * (2 / max(1, height - 1)) - 1
    count = len(boxes)
    grid = torch.stack(
        [x[:, None].expand(-1, points, -1), y[:, :, None].expand(-1, -1, points)], 3
    ).reshape(1, count * points, points, 2)
    taken = functional.grid_sample(one[None], grid, padding_mode="border", align_corners=True)
    taken = taken[0].view(len(one), count, points, points).transpose(0, 1)
    return functional.avg_pool2d(taken, _SAMPLES)
