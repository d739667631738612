"""The weights of a small Faster R-CNN, random, under torchvision's names."""

from __future__ import annotations

import numpy as np

WIDTHS = (8, 12, 16, 20)
CHANNELS = 8
HIDDEN = 16


def weights(*, labels=3, anchors=3, seed=0):
    """A ResNet of one basic block per stage, a pyramid, and torchvision's first heads."""
    rng = np.random.default_rng(seed)
    found = {}

    def conv(name, out, inside, side, *, bias=True, gain=1.0):
        spread = gain / np.sqrt(inside * side * side)
        found[f"{name}.weight"] = rng.normal(0, spread, (out, inside, side, side))
        if bias:
            found[f"{name}.bias"] = rng.normal(0, 0.1, out)

    def norm(name, width):
        found[f"{name}.weight"] = rng.uniform(0.5, 1.5, width)
        found[f"{name}.bias"] = rng.normal(0, 0.1, width)
        found[f"{name}.running_mean"] = rng.normal(0, 0.1, width)
        found[f"{name}.running_var"] = rng.uniform(0.5, 1.5, width)
        found[f"{name}.num_batches_tracked"] = np.array(0.0)

    def linear(name, out, inside):
        found[f"{name}.weight"] = rng.normal(0, 1 / np.sqrt(inside), (out, inside))
        found[f"{name}.bias"] = rng.normal(0, 0.1, out)

    body = "backbone.body"
    conv(f"{body}.conv1", WIDTHS[0], 3, 7, bias=False, gain=2)
    norm(f"{body}.bn1", WIDTHS[0])
    before = WIDTHS[0]
    for stage, width in enumerate(WIDTHS, 1):
        block = f"{body}.layer{stage}.0"
        conv(f"{block}.conv1", width, before, 3, bias=False)
        conv(f"{block}.conv2", width, width, 3, bias=False)
        norm(f"{block}.bn1", width)
        norm(f"{block}.bn2", width)
        if stage > 1:
            conv(f"{block}.downsample.0", width, before, 1, bias=False)
            norm(f"{block}.downsample.1", width)
        conv(f"backbone.fpn.inner_blocks.{stage - 1}.0", CHANNELS, width, 1)
        conv(f"backbone.fpn.layer_blocks.{stage - 1}.0", CHANNELS, CHANNELS, 3)
        before = width
    conv("rpn.head.conv.0.0", CHANNELS, CHANNELS, 3)
    conv("rpn.head.cls_logits", anchors, CHANNELS, 1)
    conv("rpn.head.bbox_pred", 4 * anchors, CHANNELS, 1, gain=0.2)
    linear("roi_heads.box_head.fc6", HIDDEN, CHANNELS * 49)
    linear("roi_heads.box_head.fc7", HIDDEN, HIDDEN)
    linear("roi_heads.box_predictor.cls_score", 1 + labels, HIDDEN)
    linear("roi_heads.box_predictor.bbox_pred", 4 * (1 + labels), HIDDEN)
    return {name: np.asarray(value, np.float32) for name, value in found.items()}
