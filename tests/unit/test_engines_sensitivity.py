"""What each layer costs is found on few frames of a large network, and on more of a small one."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from calibration.layers import Layer
from engines.search import sensitivity
from engines.search.effects import Scores
from engines.search.sensitivity import candidates


@pytest.fixture
def encodings():
    """Two layers, of which the second takes the first to float, too; 20 frames."""

    def make(multiplications):
        first, second = (Layer(name, 0.25, 0.1, 0.2, 1.0) for name in ("first", "second"))
        frames = [np.zeros((2, 2, 3), np.uint8)] * 20
        measured = SimpleNamespace(
            multiplications=multiplications,
            sparable=lambda _: {"first": [first], "second": [first, second]},
            alone=lambda _, name: name,
        )
        scores = Scores("scores", frames, np.ones((20, 1), np.float32))
        return SimpleNamespace(measured=measured, scores=scores)

    return make


@pytest.fixture
def looked_at(monkeypatch):
    """Return on how many frames the layers were tried, each with an effect of its own."""
    counts = []

    def effects(scores, alone, done):
        counts.append(len(scores.frames))
        return {name: float(len(name)) for name, _ in alone}

    monkeypatch.setattr(sensitivity, "effects", effects)
    return counts


@pytest.mark.parametrize(("multiplications", "frames"), [(1e9, 16), (1.25e11, 10), (1e13, 4)])
def test_a_large_network_is_tried_on_fewer_frames(encodings, looked_at, multiplications, frames):
    candidates(encodings(multiplications), "model.onnx", lambda *_: None)

    assert looked_at == [frames]


@pytest.mark.parametrize(("part", "noise"), [("model.onnx", 0.1), ("model.trt.onnx", 0.2)])
def test_a_layer_has_the_noise_of_its_encoding_and_what_it_takes_along(
    encodings, looked_at, part, noise
):
    first, second = candidates(encodings(1e9), part, lambda *_: None)

    assert (first.name, first.noise, first.effect) == ("first", noise, 5.0)
    assert second.takes == {"first": 0.25, "second": 0.25}
