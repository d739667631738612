"""What a Faster R-CNN is taught: anchors, then proposals, each with a class and a correction."""

from __future__ import annotations

import torch
from torch.nn import functional

from engines.zoo.faster_rcnn import FasterRcnn, Regions, normalised
from engines.zoo.yolo_loss import Truth, complete_iou, iou

_ANCHORS, _PROPOSALS = 256, 160
"""Of each frame that are learned from."""
_ANCHOR_THING, _ANCHOR_NONE = 0.5, 0.3
"""IoU from which on an anchor holds a thing, and below which it holds none.

torchvision asks for 0.7: with anchors from 32 px up too few small things would ever be met.
"""
_PROPOSAL_THING = 0.5
_HALF, _QUARTER = 0.5, 0.25
_PER_LEVEL, _KEPT, _NMS_IOU = 300, 200, 0.7
_NMS_STEPS = 8
Weights = tuple[float, float, float, float]
_WEIGHTS: Weights = (10.0, 10.0, 5.0, 5.0)
_ANCHOR_WEIGHTS: Weights = (1.0, 1.0, 1.0, 1.0)
_BETA = 1 / 9
_LARGEST_GROWTH = 4.135
_GAIN, _ANCHOR_GAIN = 3.0, 1.5
"""Of what a corrected box lacks in CIoU, beside the smooth L1 loss of the four numbers: mAP asks
for IoU up to 0.95, and a pixel off is little in one and much in the other where boxes are small."""
_SHAKEN, _SHAKE = 2, 0.12
"""How often each true box is among the proposals, and how far its sides are moved, in shares of
them. torchvision has it there once and as it is: the head then learns to leave such boxes alone,
and at run time there are none."""
_IGNORED = -1


def loss(network: FasterRcnn, frames: torch.Tensor, truths: list[Truth]) -> dict[str, torch.Tensor]:
    """Return the four losses by name, and their sum under `total`; frames RGB uint8."""
    size_wh = (frames.shape[3], frames.shape[2])
    maps = network.maps(normalised(frames))
    regions = network.regions(maps, size_wh)
    anchor, shift = _region_loss(regions, truths)
    with torch.no_grad():
        found = [proposals(regions, i, size_wh) for i in range(len(truths))]
        picked = [_pick_proposals(one, truth) for one, truth in zip(found, truths, strict=True)]
    logits, deltas = network.judge(maps, [boxes for boxes, _, _ in picked])
    boxes, classes, targets = (torch.cat([one[i] for one in picked]) for i in range(3))
    label = functional.cross_entropy(logits, classes)
    thing = (classes > 0).nonzero()[:, 0]
    of_class = deltas[thing, classes[thing]]
    box = _box_loss(boxes[thing], of_class, targets[thing], _WEIGHTS, _GAIN)
    box = box / max(1, len(classes))
    parts = {"anchor": anchor, "shift": shift, "label": label, "box": box}
    return parts | {"total": anchor + shift + label + box}


def _box_loss(
    boxes: torch.Tensor, deltas: torch.Tensor, targets: torch.Tensor, weights: Weights, gain: float
) -> torch.Tensor:
    """Return what boxes (P, 4) are off once `deltas`, `weights` times too large, moved them."""
    weighing = boxes.new_tensor(weights)
    numbers = _smooth(deltas, encode(boxes, targets) * weighing)
    lacking = 1 - complete_iou(moved(boxes, deltas / weighing), targets)
    return numbers + gain * lacking.sum()


def encode(boxes: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the four numbers that make `targets` of `boxes`, (N, 4) xyxy each."""
    size, aim = boxes[:, 2:] - boxes[:, :2], targets[:, 2:] - targets[:, :2]
    apart = (targets[:, :2] + targets[:, 2:] - boxes[:, :2] - boxes[:, 2:]) / 2
    return torch.cat([apart / size, (aim / size).log()], 1)


def moved(boxes: torch.Tensor, deltas: torch.Tensor) -> torch.Tensor:
    """Return boxes (N, 4) as `deltas` move them."""
    size = boxes[:, 2:] - boxes[:, :2]
    centre = boxes[:, :2] + size / 2 + deltas[:, :2] * size
    half = deltas[:, 2:].clamp(max=_LARGEST_GROWTH).exp() * size / 2
    return torch.cat([centre - half, centre + half], 1)


def decode(boxes: torch.Tensor, deltas: torch.Tensor, size_wh: tuple[int, int]) -> torch.Tensor:
    """Return boxes (N, 4) as `deltas` move them, clipped to the frame."""
    return torch.minimum(moved(boxes, deltas).clamp(min=0), boxes.new_tensor(size_wh * 2))


@torch.no_grad()
def proposals(regions: Regions, frame: int, size_wh: tuple[int, int]) -> torch.Tensor:
    """Return a frame's best boxes, (P, 4), overlapping ones suppressed on each map."""
    boxes, scores, first = [], [], 0
    for count in regions.levels:
        here = slice(first, first + count)
        first += count
        best, index = regions.logits[frame, here].topk(min(_PER_LEVEL, count))
        there = decode(regions.anchors[here][index], regions.deltas[frame, here][index], size_wh)
        kept = suppress(there, _NMS_IOU) & ((there[:, 2:] - there[:, :2]).amin(1) > 1)
        boxes.append(there[kept])
        scores.append(best[kept])
    order = torch.cat(scores).argsort(descending=True)[:_KEPT]
    return torch.cat(boxes)[order]


def suppress(boxes: torch.Tensor, limit: float) -> torch.Tensor:
    """Return which boxes (N, 4), best first, greedy NMS keeps: the contract's recurrence."""
    above = (iou(boxes[:, None], boxes[None]) > limit).float().triu(1)
    keep = torch.ones(len(boxes), device=boxes.device)
    for _ in range(_NMS_STEPS):
        keep = 1 - (keep @ above).clamp(max=1)
    return keep > _HALF


def _region_loss(regions: Regions, truths: list[Truth]) -> tuple[torch.Tensor, torch.Tensor]:
    logits, wanted, shifts, count = [], [], regions.deltas.new_zeros(()), 0
    for frame, truth in enumerate(truths):
        kind, owner = _anchor_kinds(regions.anchors, truth)
        thing = _some(kind == 1, round(_ANCHORS * _HALF))
        none = _some(kind == 0, _ANCHORS - len(thing))
        logits += [regions.logits[frame, thing], regions.logits[frame, none]]
        wanted += [torch.ones_like(logits[-2]), torch.zeros_like(logits[-1])]
        aim = truth.boxes[owner[thing]]
        shift = regions.deltas[frame, thing]
        off = _box_loss(regions.anchors[thing], shift, aim, _ANCHOR_WEIGHTS, _ANCHOR_GAIN)
        shifts = shifts + off
        count += len(thing) + len(none)
    anchor = functional.binary_cross_entropy_with_logits(torch.cat(logits), torch.cat(wanted))
    return anchor, shifts / max(1, count)


@torch.no_grad()
def _anchor_kinds(anchors: torch.Tensor, truth: Truth) -> tuple[torch.Tensor, torch.Tensor]:
    """Return 1 for a thing, 0 for none, -1 for neither, and whose box it would be, (A,) each."""
    kind = torch.zeros(len(anchors), dtype=torch.long, device=anchors.device)
    if not len(truth.boxes):
        return kind, kind
    best, owner, mine = _overlaps(anchors, truth)
    kind[best >= _ANCHOR_NONE] = _IGNORED
    kind[_is_ignored(anchors, truth) & (best < _ANCHOR_NONE)] = _IGNORED
    kind[(best >= _ANCHOR_THING) | mine] = 1
    return kind, owner


def _overlaps(
    anchors: torch.Tensor, truth: Truth
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return each anchor's best IoU, with which thing, and whether it is a thing's own best.

    Each thing's own best anchor learns it, however little that overlaps. Thing after thing: 40
    rows of 60,000 anchors at once are far more than a processor's cache holds.
    """
    columns = anchors.T.contiguous().T
    best, owner = anchors.new_zeros(len(anchors)), torch.zeros(len(anchors), dtype=torch.long)
    owner = owner.to(anchors.device)
    mine, whose = torch.zeros_like(owner, dtype=torch.bool), torch.zeros_like(owner)
    for number, box in enumerate(truth.boxes):
        overlap = iou(box, columns)
        higher = overlap > best
        best = torch.maximum(best, overlap)
        owner[higher] = number
        own = (overlap == overlap.amax().clamp(min=1e-9)) & ~mine
        whose[own] = number
        mine |= own
    return best, torch.where(mine, whose, owner), mine


def shaken(boxes: torch.Tensor) -> torch.Tensor:
    """Return boxes (N, 4), each side of each moved at random."""
    sides = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    return boxes + torch.randn_like(boxes).clamp(-2, 2) * _SHAKE * sides


def _pick_proposals(
    found: torch.Tensor, truth: Truth
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return some proposals, their class, 0 for background, and their true box."""
    boxes = torch.cat([found, shaken(truth.boxes.repeat(_SHAKEN, 1))])
    if not len(truth.boxes):
        none = _some(torch.ones(len(boxes), dtype=torch.bool, device=boxes.device), _PROPOSALS)
        classes = torch.zeros(len(none), dtype=torch.long, device=boxes.device)
        return boxes[none], classes, boxes[none]
    best, owner = iou(truth.boxes[:, None], boxes[None]).max(0)
    things = best >= _PROPOSAL_THING
    thing = _some(things, round(_PROPOSALS * _HALF))
    background = ~things & ~_is_ignored(boxes, truth)
    none = _some(background, _PROPOSALS - len(thing))
    both = torch.cat([thing, none])
    classes = torch.cat([truth.labels[owner[thing]] + 1, torch.zeros_like(none)])
    return boxes[both], classes, truth.boxes[owner[both]]


def _is_ignored(boxes: torch.Tensor, truth: Truth) -> torch.Tensor:
    """Return which boxes lie mostly on what is ignored."""
    if not len(truth.ignored):
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    low = torch.maximum(boxes[:, None, :2], truth.ignored[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], truth.ignored[None, :, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-6)
    share = (high - low).clamp(min=0).prod(2) / area[:, None]
    return (share > _QUARTER).any(1)


def _some(mask: torch.Tensor, count: int) -> torch.Tensor:
    """Return `count` random indices where the mask holds, or all."""
    index = mask.nonzero()[:, 0]
    if len(index) <= count:
        return index
    return index[torch.randperm(len(index), device=index.device)[:count]]


def _smooth(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return functional.smooth_l1_loss(found, wanted, beta=_BETA, reduction="sum")
