"""Teach an aisle classifier's network: pictures of aisles as they may look on another day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from engines.zoo.aisle_frames import Frames
from engines.zoo.aisle_network import AisleNetwork

if TYPE_CHECKING:
    import numpy.typing as npt

    from edge.frame import Image

    Pictures = npt.NDArray[np.float32]

STEPS, BATCH, RATE = 1200, 48, 4e-3
_SHOWN_EVERY = 100


def fit(frames: Frames, classes: int, steps: int = STEPS) -> AisleNetwork:
    """Return a network trained on `frames`; classes that are rare are drawn as often as others."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    network = AisleNetwork(classes)
    optimiser = torch.optim.AdamW(network.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.05)
    pools = [np.flatnonzero(frames.aisles == number) for number in range(classes)]
    present = [number for number, pool in enumerate(pools) if len(pool)]
    for step in range(steps):
        classes_drawn = random.choice(present, BATCH)
        chosen = [int(random.choice(pools[number])) for number in classes_drawn]
        pictures = np.stack([vary(frames.images[i], random) for i in chosen])
        loss = loss_of(network(_tensor(pictures)), torch.from_numpy(frames.aisles[chosen]))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % _SHOWN_EVERY == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    network.eval()
    return network


def vary(image: Image, random: np.random.Generator) -> Pictures:
    """Return a picture as it might be on another day: light, tint, place, somebody in front.

    uint8 (H, W, 3) in, float32 of the same shape, 0..255, out.
    """
    height, width = image.shape[:2]
    zoom = random.uniform(1.0, 1.2)
    rows = (np.arange(height) - height / 2) / zoom + height / 2
    columns = (np.arange(width) - width / 2) / zoom + width / 2
    rows = np.clip(rows + random.uniform(-0.08, 0.08) * height, 0, height - 1).astype(int)
    columns = np.clip(columns + random.uniform(-0.08, 0.08) * width, 0, width - 1).astype(int)
    varied = image[rows][:, columns].astype(np.float32) / 255
    varied = varied ** random.uniform(0.7, 1.4) * random.uniform(0.5, 1.5)
    varied *= random.uniform(0.85, 1.15, 3).astype(np.float32)
    left_light, right_light = random.uniform(0.7, 1.3, 2)
    varied *= np.linspace(left_light, right_light, width)[:, None].astype(np.float32)
    varied += random.normal(0, random.uniform(0, 0.04), varied.shape).astype(np.float32)
    if random.uniform() < 0.4:  # noqa: PLR2004 - a share of the pictures
        left, wide = random.integers(0, width), int(random.uniform(0.08, 0.4) * width)
        top = random.integers(0, height // 2)
        varied[top:, left : left + wide] = random.uniform(0, 1, 3)
    bounded: Pictures = np.clip(varied * 255, 0, 255)
    return bounded


def relit(frames: Frames) -> Frames:
    """Return frames at a third of their brightness and warmer: the edge of what `vary` makes."""
    warm = np.array([0.28, 0.33, 0.42], np.float32)
    return Frames((frames.images * warm).astype(np.uint8), frames.aisles)


def accuracy(network: AisleNetwork, frames: Frames) -> float:
    """Return the share of frames, 0..1, whose likeliest class is the right one."""
    with torch.inference_mode():
        parts = [
            network(_tensor(frames.images[i : i + BATCH].astype(np.float32))).argmax(1)
            for i in range(0, len(frames.images), BATCH)
        ]
    right = torch.cat(parts).numpy() == frames.aisles
    return round(float(right.mean()), 4)


def _tensor(pictures: Pictures) -> torch.Tensor:
    """Return (B, 3, H, W) of pictures (B, H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))
