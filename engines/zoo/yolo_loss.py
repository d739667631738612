"""What a YOLO is taught: task-aligned assignment (TOOD, arXiv 2108.07915) and its three losses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from engines.zoo.yolo import BINS, Raw, Yolo, cells, sides_of

_TOP = 10
_SCORE_POWER, _IOU_POWER = 0.5, 6.0
_BOX_GAIN, _LABEL_GAIN, _SPREAD_GAIN = 7.5, 0.5, 1.5
_CROWDED_IOU, _CROWDED_GAIN = 0.3, 2.0
"""Things that another one overlaps by more are few, and most of what is missed: their losses count
so much."""
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Truth:
    """A frame's boxes xyxy in pixels (G, 4), their labels (G,), and what is ignored (M, 4)."""

    boxes: torch.Tensor
    labels: torch.Tensor
    ignored: torch.Tensor


@dataclass(frozen=True, slots=True)
class Assigned:
    """What each of N cells is to say: its box (N, 4), soft scores (N, labels), if at all (N,)."""

    boxes: torch.Tensor
    scores: torch.Tensor
    positive: torch.Tensor
    weights: torch.Tensor
    """How much a cell counts, (N,): 0 where its labels are not judged."""


def loss(network: Yolo, frames: torch.Tensor, truths: list[Truth]) -> dict[str, torch.Tensor]:
    """Return the losses by name, and their sum under `total`; frames RGB uint8 (B, 3, H, W)."""
    return _loss(network(frames.float() / 255), truths, (frames.shape[3], frames.shape[2]))


def _loss(raw: Raw, truths: list[Truth], size_wh: tuple[int, int]) -> dict[str, torch.Tensor]:
    centres, steps = (one.to(raw.logits.device) for one in cells(size_wh))
    sides = sides_of(raw.spread)
    boxes = torch.cat([centres - sides[:, :2], centres + sides[:, 2:]], 1) * steps
    scores = raw.logits.detach().sigmoid()
    middle = (centres * steps).T
    found = [
        assign(boxes[i].detach().T, scores[i].T, truth, middle, steps[0])
        for i, truth in enumerate(truths)
    ]
    wanted = torch.stack([one.scores for one in found])
    counts = torch.stack([one.weights for one in found])
    whole = wanted.sum().clamp(min=1.0)
    each = functional.binary_cross_entropy_with_logits(
        raw.logits.transpose(1, 2), wanted, reduction="none"
    )
    label = (each * counts[..., None]).sum() / whole
    positive = torch.stack([one.positive for one in found])
    weight = (wanted.sum(2) * counts)[positive]
    target = torch.stack([one.boxes for one in found])[positive]
    box = ((1 - complete_iou(boxes.transpose(1, 2)[positive], target)) * weight).sum() / whole
    ends = steps[0].expand(len(truths), -1)[positive][:, None]
    place = centres.T.expand(len(truths), -1, -1)[positive]
    reach = torch.cat([place - target[:, :2] / ends, target[:, 2:] / ends - place], 1)
    spread = raw.spread.transpose(1, 2)[positive].view(-1, 4, BINS)
    focal = (spread_loss(spread, reach).mean(1) * weight).sum() / whole
    parts = {"box": box * _BOX_GAIN, "label": label * _LABEL_GAIN, "spread": focal * _SPREAD_GAIN}
    return parts | {"total": box * _BOX_GAIN + label * _LABEL_GAIN + focal * _SPREAD_GAIN}


@torch.no_grad()
def assign(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    truth: Truth,
    middle: torch.Tensor,
    steps: torch.Tensor,
) -> Assigned:
    """Give each true box the cells that already say it best; a cell gets one box at most.

    Predicted `boxes` (N, 4) and `scores` (N, labels), cell centres `middle` (N, 2) in pixels.
    """
    count, labels = scores.shape
    wanted = scores.new_zeros(count, labels)
    judged = ~_inside(middle, truth.ignored, steps * 0).any(0)
    if not len(truth.boxes):
        none = torch.zeros(count, dtype=torch.bool, device=scores.device)
        return Assigned(boxes, wanted, none, judged.float())
    near = _inside(middle, truth.boxes, steps)
    overlap = iou(truth.boxes[:, None], boxes[None]).clamp(min=0) * near
    metric = scores.T[truth.labels].pow(_SCORE_POWER) * overlap.pow(_IOU_POWER)
    # Before anything is learned nothing overlaps: then the nearest cells win.
    metric = metric + near * _TINY
    best, index = metric.topk(min(_TOP, count), dim=1)
    chosen = torch.zeros_like(near).scatter_(1, index, best > 0)
    positive, owner = chosen.any(0), owners(torch.where(chosen, overlap + _TINY, 0.0))
    chosen &= torch.arange(len(near), device=near.device)[:, None] == owner[None]
    metric = metric * chosen
    share = metric / metric.amax(1, keepdim=True).clamp(min=_TINY)
    soft = (share * (overlap * chosen).amax(1, keepdim=True)).amax(0)
    wanted[torch.arange(count, device=scores.device), truth.labels[owner]] = soft * positive
    gain = torch.where(crowded(truth.boxes), _CROWDED_GAIN, 1.0)[owner]
    weights = torch.where(positive, gain, judged.float())
    return Assigned(truth.boxes[owner], wanted, positive, weights)


def owners(rivals: torch.Tensor) -> torch.Tensor:
    """Return which of G things gets each of N cells, (N,), by how much it wants them, (G, N).

    Of two things close behind one another the front one has the better boxes in all cells that
    both want, and the other one would be taught as background: a thing that would go without has
    its best cell back from one that keeps another.
    """
    owner = rivals.argmax(0)
    held = torch.bincount(owner[rivals.any(0)], minlength=len(rivals))
    for thing in (held == 0).nonzero()[:, 0]:
        spare = torch.where(held[owner] > 1, rivals[thing], 0.0)
        best = spare.argmax()
        if spare[best] > 0:
            held[owner[best]] -= 1
            held[thing] += 1
            owner[best] = thing
    return owner


def crowded(boxes: torch.Tensor) -> torch.Tensor:
    """Return which boxes (G, 4) another one overlaps much, (G,)."""
    return iou(boxes[:, None], boxes[None]).fill_diagonal_(0).amax(1) > _CROWDED_IOU


def _inside(middle: torch.Tensor, boxes: torch.Tensor, least: torch.Tensor) -> torch.Tensor:
    """Return which centres are in which boxes, (G, N); boxes count as `least` (N,) wide."""
    centre = (boxes[:, :2] + boxes[:, 2:])[:, None] / 2
    half = torch.maximum((boxes[:, 2:] - boxes[:, :2])[:, None], least[None, :, None]) / 2
    # A cell of a coarse map is no place for a box much smaller than its stride.
    fine = (boxes[:, 2:] - boxes[:, :2]).amax(1)[:, None] * 2 >= least[None]
    return ((middle[None] - centre).abs() < half).all(2) & fine


def spread_loss(logits: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of distances `reach` (P, 4) with the two bins beside each."""
    reach = reach.clamp(0, BINS - 1 - 0.01)
    low = reach.long()
    high_share = reach - low
    logs = logits.log_softmax(2)
    below, above = (logs.gather(2, at[..., None])[..., 0] for at in (low, low + 1))
    return -(below * (1 - high_share) + above * high_share)


def iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return the IoU of boxes xyxy, (..., 4) each."""
    return _overlap(one, other)[0]


def complete_iou(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Return CIoU (arXiv 1911.08287) of boxes (P, 4): also what is off in place and in shape."""
    found, _ = _overlap(one, other)
    low, high = (
        torch.minimum(one[..., :2], other[..., :2]),
        torch.maximum(one[..., 2:], other[..., 2:]),
    )
    diagonal = (high - low).square().sum(-1) + _TINY
    apart = (one[..., :2] + one[..., 2:] - other[..., :2] - other[..., 2:]).square().sum(-1) / 4
    wide, tall = (other[..., 2:] - other[..., :2]).unbind(-1)
    width, height = (one[..., 2:] - one[..., :2]).unbind(-1)
    angle = torch.atan(wide / (tall + _TINY)) - torch.atan(width / (height + 1e-6))
    shape = angle.square() * (4 / torch.pi**2)
    with torch.no_grad():
        trade = shape / (1 - found + shape + 1e-7)
    return found - apart / diagonal - trade * shape


def _overlap(one: torch.Tensor, other: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # Side by side: reducing over an axis of two takes several times as long.
    left, top, right, bottom = one.unbind(-1)
    start, above, end, below = other.unbind(-1)
    width = torch.minimum(right, end) - torch.maximum(left, start)
    height = torch.minimum(bottom, below) - torch.maximum(top, above)
    common = width.clamp(min=0) * height.clamp(min=0)
    areas = (right - left) * (bottom - top) + (end - start) * (below - above)
    union = areas - common + _TINY
    return common / union, union
