"""Our Faster R-CNN held to torchvision's own, run eagerly on random weights."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from engines.inspection import Order, understand
from tests import by_hand

pytestmark = pytest.mark.needs("onnxruntime", "onnx")

SIZE = (320, 256)
MODELS = {
    "fasterrcnn_resnet50_fpn": (0.006, 0.01),
    "fasterrcnn_resnet50_fpn_v2": (0.002, 0.002),
    "fasterrcnn_mobilenet_v3_large_fpn": (0.15, 0.1),
}
"""How far the last layers' weights spread: so that scores are neither all 0 nor all 1."""


@pytest.fixture(scope="module")
def torch():
    """Return torch, where torchvision's operators work too."""
    try:
        found = importlib.import_module("torch")
        importlib.import_module("torchvision.models.detection")
    except (ImportError, RuntimeError, OSError) as error:
        pytest.skip(f"needs torch and torchvision: {error}")
    found.manual_seed(0)
    return found


def randomised(torch, name):
    """Return a model whose every layer matters: norms that are no identities, scores that vary."""
    detection = importlib.import_module("torchvision.models.detection")
    width, height = SIZE
    model = getattr(detection, name)(
        weights=None, weights_backbone=None, num_classes=7, min_size=height, max_size=width
    ).eval()
    heads = {
        model.rpn.head.cls_logits: 0.02,
        model.rpn.head.bbox_pred: 0.01,
        model.roi_heads.box_predictor.cls_score: MODELS[name][0],
        model.roi_heads.box_predictor.bbox_pred: MODELS[name][1],
    }
    with torch.no_grad():
        for module in model.modules():
            if hasattr(module, "running_mean"):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.6, 1.6)
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
        for layer, spread in heads.items():
            layer.weight.normal_(0, spread)
    return model


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.timeout(300)
def test_it_is_torchvisions_own(tmp_path, torch, name):
    model, pixels = randomised(torch, name), by_hand.frame(SIZE)
    seen = {}
    model.rpn.register_forward_hook(lambda _m, _i, out: seen.update(proposals=out[0][0]))
    model.roi_heads.box_predictor.register_forward_hook(
        lambda _m, _i, out: seen.update(logits=out[0])
    )
    image = torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1).float() / 255
    with torch.no_grad():
        model([image])
        # Below the 300th pair the contract's candidates end.
        shares = torch.softmax(seen["logits"], -1)[:, 1:].flatten()
        threshold = float(shares.sort(descending=True).values[300]) + 1e-9
        model.roi_heads.score_thresh, model.roi_heads.detections_per_img = threshold, 300
        expected = {key: value.numpy() for key, value in model([image])[0].items()}
    path = tmp_path / "model.pth"
    torch.save(model.state_dict(), path)

    adapted = understand(Order(model=path, name="model", version="1", size_wh=SIZE))

    assert other_proposals(adapted, pixels, seen["proposals"].numpy()) <= 0.01
    boxes, scores, labels = by_hand.detected(adapted, pixels)
    used = scores > threshold
    missed = 0
    for box, score, label in zip(
        *(expected[k] for k in ("boxes", "scores", "labels")), strict=True
    ):
        apart = np.abs(boxes[used] - box).max(1) + (labels[used] != label - 1) * 1e3
        if apart.min() > 0.05:
            missed += 1
        else:
            assert abs(scores[used][apart.argmin()] - score) < 1e-3
    # Scores that differ in the last bit may take each other's place in NMS.
    assert len(expected["scores"]) > 50
    assert missed <= 0.02 * len(expected["scores"])
    assert abs(int(used.sum()) - len(expected["scores"])) <= 0.02 * len(expected["scores"])


def other_proposals(adapted, pixels, expected):
    """Return the share of live proposals that torchvision has not, or that it has and we have not.

    An overlap that is the threshold to the last bit may fall either way.
    """
    mean, std = adapted.family.preprocessing.mean, adapted.family.preprocessing.std
    fed = ((pixels[:, :, ::-1] / 255 - mean) / std).astype(np.float32).transpose(2, 0, 1)[None]
    proposals, objectness = by_hand.session(adapted.network.model).run(
        ["proposals", "objectness"], {"image": fed}
    )
    live = proposals[0][objectness[0] > 0]
    apart = np.abs(live[:, None] - expected[None]).max(-1) > 0.05
    return max(apart.all(0).mean(), apart.all(1).mean())
