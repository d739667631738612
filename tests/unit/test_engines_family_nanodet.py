"""NanoDet: distributions of distances, from a cell's corner or its centre."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from tests import by_hand
from tests.networks_nanodet import nanodet

SIZE = (64, 128)
MEAN, STD = np.float32([103.53, 116.28, 123.675]), np.float32([57.375, 57.12, 58.395])
STRIDES = {"nanodet-plus": (8, 16, 32, 64), "nanodet": (8, 16, 32), "picodet-raw": (8, 16, 32, 64)}
OFFSETS = {"nanodet-plus": 0, "nanodet": 0.5, "picodet-raw": 0.5}


def expected(model, pixels, name, bins=8):
    """Decode as NanoDet's own post-processing does."""
    if name == "picodet-raw":
        fed = (pixels[..., ::-1] / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    else:
        fed = (pixels - MEAN) / STD
    fed = fed.astype(np.float32).transpose(2, 0, 1)[None]
    found = [x[0] for x in by_hand.session(model).run(None, {"images": fed})]
    scores, sides = (
        (np.concatenate(found[0::2]), np.concatenate(found[1::2]))
        if len(found) > 1
        else (found[0][:, : -4 * bins], found[0][:, -4 * bins :])
    )
    starts, steps = [], []
    for stride in STRIDES[name]:
        for row in range(SIZE[1] // stride):
            for column in range(SIZE[0] // stride):
                starts.append(((column + OFFSETS[name]) * stride, (row + OFFSETS[name]) * stride))
                steps.append(stride)
    shares = np.exp(sides.reshape(-1, 4, bins))
    far = (shares / shares.sum(2, keepdims=True)) @ np.arange(bins) * np.array(steps)[:, None]
    low, high = np.array(starts) - far[:, :2], np.array(starts) + far[:, 2:]
    boxes = np.hstack([low, high])
    if name != "picodet-raw":
        boxes = np.clip(boxes, 0, [*SIZE, *SIZE])
    best, labels = scores.max(1), scores.argmax(1)
    kept = by_hand.suppressed(boxes, best, labels, 0.6)
    return boxes[kept], best[kept], labels[kept]


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        ("nanodet-plus", False, False),
        ("nanodet-plus", True, True),
        ("nanodet", False, False),
        ("nanodet", True, False),
        ("picodet-raw", True, True),
    ],
)
def test_it_detects_what_a_decode_by_hand_detects(tmp_path, name, split, said):
    model = nanodet(strides=STRIDES[name], split=split)
    pixels = by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model, family=name if said else None)

    assert adapted.family.name == name
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels, name))


@pytest.mark.parametrize("labels", [3, 32, 44])
@pytest.mark.parametrize("split", [False, True])
def test_some_older_ones_have_eleven_logits_per_side(tmp_path, split, labels):
    model = nanodet(strides=(8, 16, 32), split=split, bins=11, labels=labels)
    pixels = by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model, family="nanodet")

    assert len(adapted.labels) == labels
    by_hand.assert_same(by_hand.detected(adapted, pixels), *expected(model, pixels, "nanodet", 11))


def test_what_those_are_fed_is_not_certain(tmp_path):
    with pytest.raises(ModelError, match=r"--family nanodet$"):
        by_hand.understood(tmp_path, nanodet(strides=(8, 16, 32), bins=11))


def test_the_older_one_is_letterboxed_on_black(tmp_path):
    spec = by_hand.understood(tmp_path, nanodet(strides=(8, 16, 32))).input

    assert (spec.letterbox, spec.pad) == ("centered", 0)


def test_pairs_at_four_strides_are_of_two_families_so_the_user_has_to_say_which(tmp_path):
    says = "say which it is: --family nanodet-plus or --family picodet-raw"

    with pytest.raises(ModelError, match=says):
        by_hand.understood(tmp_path, nanodet(split=True))


def test_one_output_is_no_picodets(tmp_path):
    with pytest.raises(ModelError, match="not picodet-raw: one output"):
        by_hand.understood(tmp_path, nanodet(), family="picodet-raw")


def test_logits_are_refused(tmp_path):
    with pytest.raises(ModelError, match="are no sigmoids"):
        by_hand.understood(tmp_path, nanodet(sigmoids=False), family="nanodet-plus")
