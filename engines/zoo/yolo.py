"""A small anchor-free YOLO: the head of YOLOv8 and later on a narrow convolutional body.

Rectifiers and plain 3x3 convolutions throughout: these run as integers on a CPU without a special
instruction. Boxes are distributions over distances (Generalized Focal Loss, arXiv 2006.04388).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

STRIDES = (8, 16, 32)
BINS = 16
"""Distances a side is spread over, in strides from 0."""
_BODY = (16, 32, 64, 112, 144)
"""Channels at strides 2, 4, 8, 16 and 32."""
_NECK = 64
_TOWER = 48
_PRIOR = 0.01
"""Score of every label before training (focal loss, arXiv 1708.02002)."""


class Raw(NamedTuple):
    """What the heads give for N cells, smallest stride first, row by row."""

    spread: torch.Tensor
    """(B, 4 * BINS, N) logits of left, top, right and bottom."""
    logits: torch.Tensor
    """(B, labels, N)"""


class ConvNorm(nn.Sequential):
    """Convolution, batch norm, rectifier; keeps the size but for its stride."""

    def __init__(self, inside: int, out: int, side: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inside, out, side, stride, side // 2, bias=False),
            nn.BatchNorm2d(out, eps=1e-3, momentum=0.03),
            nn.ReLU(inplace=True),
        )


class Block(nn.Module):
    """Half of the channels go through residual pairs of convolutions, every stage is kept."""

    def __init__(self, inside: int, out: int, depth: int, *, residual: bool = True) -> None:
        super().__init__()
        self.half = out // 2
        self.enter = ConvNorm(inside, out, 1)
        self.pairs = nn.ModuleList(
            nn.Sequential(ConvNorm(self.half, self.half), ConvNorm(self.half, self.half))
            for _ in range(depth)
        )
        self.leave = ConvNorm(self.half * (2 + depth), out, 1)
        self.residual = residual

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, inside, h, w) to (B, out, h, w)."""
        stages = list(self.enter(x).split(self.half, 1))
        for pair in self.pairs:
            inner = pair(stages[-1])
            stages.append(stages[-1] + inner if self.residual else inner)
        return self.leave(torch.cat(stages, 1))


class Context(nn.Module):
    """Pools of three growing windows beside the map itself: SPPF."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvNorm(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvNorm(channels * 2, channels, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Keep the shape."""
        stages = [self.enter(x)]
        for _ in range(3):
            stages.append(self.pool(stages[-1]))
        return self.leave(torch.cat(stages, 1))


class Head(nn.Module):
    """What one map says: distances in one tower, labels in the other."""

    def __init__(self, inside: int, labels: int) -> None:
        super().__init__()
        self.box = nn.Sequential(
            ConvNorm(inside, _TOWER), ConvNorm(_TOWER, _TOWER), nn.Conv2d(_TOWER, 4 * BINS, 1)
        )
        self.label = nn.Sequential(ConvNorm(inside, _TOWER), nn.Conv2d(_TOWER, labels, 1))
        nn.init.constant_(self.label[-1].bias, float(torch.tensor(_PRIOR).logit()))
        nn.init.constant_(self.box[-1].bias, 1.0)


class Yolo(nn.Module):
    """The network: RGB 0..1, (B, 3, H, W) with sides that 32 divides, to `Raw`."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        a, b, c, d, e = _BODY
        self.stem = ConvNorm(3, a, stride=2)
        self.stage2 = ConvNorm(a, b, stride=2)
        self.stage3 = nn.Sequential(ConvNorm(b, c, stride=2), Block(c, c, 2))
        self.stage4 = nn.Sequential(ConvNorm(c, d, stride=2), Block(d, d, 2))
        self.stage5 = nn.Sequential(ConvNorm(d, e, stride=2), Block(e, e, 1), Context(e))
        self.narrow5, self.narrow4 = ConvNorm(e, _NECK, 1), ConvNorm(d, _NECK, 1)
        self.up = nn.Upsample(scale_factor=2, mode="nearest")
        self.up4 = Block(2 * _NECK, _NECK, 1, residual=False)
        self.up3 = Block(c + _NECK, _NECK, 1, residual=False)
        self.down4, self.down5 = (ConvNorm(_NECK, _NECK, stride=2) for _ in range(2))
        self.out4 = Block(2 * _NECK, _NECK, 1, residual=False)
        self.out5 = Block(2 * _NECK, _NECK, 1, residual=False)
        self.heads = nn.ModuleList(Head(_NECK, labels) for _ in STRIDES)

    def forward(self, x: torch.Tensor) -> Raw:
        """Run the network."""
        maps = self.features(x)
        spread = [head.box(one).flatten(2) for head, one in zip(self.heads, maps, strict=True)]
        logits = [head.label(one).flatten(2) for head, one in zip(self.heads, maps, strict=True)]
        return Raw(torch.cat(spread, 2), torch.cat(logits, 2))

    def features(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the maps the heads read, at strides 8, 16 and 32."""
        c3 = self.stage3(self.stage2(self.stem(x)))
        c4 = self.stage4(c3)
        c5 = self.narrow5(self.stage5(c4))
        p4 = self.up4(torch.cat([self.up(c5), self.narrow4(c4)], 1))
        p3 = self.up3(torch.cat([self.up(p4), c3], 1))
        p4 = self.out4(torch.cat([self.down4(p3), p4], 1))
        return [p3, p4, self.out5(torch.cat([self.down5(p4), c5], 1))]


def cells(size_wh: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each cell's centre in strides (2, N), and its stride (1, N)."""
    centres, steps = [], []
    for stride in STRIDES:
        columns, rows = size_wh[0] // stride, size_wh[1] // stride
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        centres.append(torch.stack([x.flatten(), y.flatten()]) + 0.5)
        steps.append(torch.full((1, rows * columns), float(stride)))
    return torch.cat(centres, 1), torch.cat(steps, 1)


class Decoded(nn.Module):
    """The network as it is exported: (B, 4 + labels, N), cxcywh in pixels and sigmoid scores."""

    def __init__(self, network: Yolo, size_wh: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        centres, steps = cells(size_wh)
        self.register_buffer("centres", centres[None])
        self.register_buffer("steps", steps)
        # A convolution, as in the exports that engines.families.distribution knows.
        self.expectation = nn.Conv2d(BINS, 1, 1, bias=False)
        self.expectation.weight.data[:] = torch.arange(BINS, dtype=torch.float32).view(1, -1, 1, 1)
        self.expectation.requires_grad_(requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Run and decode."""
        raw = self.network(x)
        batch, _, count = raw.spread.shape
        shares = raw.spread.view(batch, 4, BINS, count).transpose(1, 2).softmax(1)
        sides = self.expectation(shares).view(batch, 4, count)
        low, high = self.centres - sides[:, :2], self.centres + sides[:, 2:]
        boxes = torch.cat([(low + high) / 2, high - low], 1) * self.steps
        return torch.cat([boxes, raw.logits.sigmoid()], 1)


def sides_of(spread: torch.Tensor) -> torch.Tensor:
    """Return the expected distances (B, 4, N), in strides, of logits (B, 4 * BINS, N)."""
    batch, _, count = spread.shape
    shares = spread.view(batch, 4, BINS, count).softmax(2)
    return torch.einsum("bsrn,r->bsn", shares, torch.arange(BINS, device=spread.device).float())


def export(network: Yolo, size_wh: tuple[int, int], labels: Sequence[str], path: str) -> None:
    """Write the network as ONNX, its labels in the metadata under `names`."""
    import onnx

    network = network.eval()
    frame = torch.zeros(1, 3, size_wh[1], size_wh[0])
    torch.onnx.export(
        Decoded(network, size_wh).eval(), (frame,), path, dynamo=False, opset_version=17,
        input_names=["images"], output_names=["output0"],
    )  # fmt: skip
    model = onnx.load(path)
    names = {index: str(label) for index, label in enumerate(labels)}
    onnx.helper.set_model_props(model, {"names": str(names)})
    onnx.save(model, path)
