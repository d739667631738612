"""Train an aisle classifier for a moving camera: `python -m engines.zoo.aisle_classifier`.

Each LAP is the folder of one drive through all aisles, with a folder of photos or a video per
aisle, named after it, and perhaps one `elsewhere`. The last LAP is held out, to measure on. With no
LAP the drives are through the shelf world. The same input gives the same network on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edge.aisles.classifier import NETWORK, PASSPORT, Passport
from edge.errors import EdgeError
from engines.errors import ImagesError
from engines.zoo.aisle_frames import WORLD, Frames, aisles_of, drawn, recorded
from engines.zoo.aisle_network import AisleNetwork, to_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from edge.frame import Image

    Pictures = npt.NDArray[np.float32]

SIZE_WH = (160, 90)
STEPS, BATCH, RATE = 1200, 48, 4e-3
_TRAIN_LAPS, _HELD_OUT_LAPS = range(10), range(40, 43)
_TRAIN_SEEDS, _HELD_OUT_SEEDS = range(100, 180), range(300, 340)
_SHOWN_EVERY = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="aisle_classifier", description=__doc__)
    parser.add_argument("laps", metavar="LAP", nargs="*", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    given = parser.parse_args(arguments)
    try:
        _make(given.laps, given.out)
    except EdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def _make(laps: Sequence[Path], out: Path) -> None:
    passport, train, held_out = _of_laps(laps) if laps else _of_world()
    print(f"{len(train.images)} pictures to train on, {len(held_out.images)} held out")
    network = fit(train, len(passport.aisles) + 1)
    measured = {
        "held_out": accuracy(network, held_out),
        "held_out_dimmed": accuracy(network, relit(held_out)),
    }
    for name, share in measured.items():
        print(f"{name}: {share:.4f} of the pictures are put in the right aisle")
    write(network, passport.model_copy(update={"measured": measured}), out)
    print(f"{out}: {', '.join(passport.aisles)}")


def _of_world() -> tuple[Passport, Frames, Frames]:
    aisles = tuple(WORLD.partition("aisles=")[2].split(","))
    passport = _passport(aisles, f"{WORLD}, laps 0 to {_TRAIN_LAPS[-1]}")
    print("drawing the shelf world, a few minutes", flush=True)
    return (
        passport,
        drawn(passport, _TRAIN_LAPS, _TRAIN_SEEDS, "train"),
        drawn(passport, _HELD_OUT_LAPS, _HELD_OUT_SEEDS, "held_out"),
    )


def _of_laps(laps: Sequence[Path]) -> tuple[Passport, Frames, Frames]:
    if len(laps) == 1:
        raise ImagesError(
            "one lap: nothing is left to measure on", "record a second drive on another day"
        )
    passport = _passport(aisles_of(laps[0]), f"{len(laps) - 1} recorded laps")
    parts = [recorded(passport, lap) for lap in laps]
    train = Frames(
        np.concatenate([part.images for part in parts[:-1]]),
        np.concatenate([part.aisles for part in parts[:-1]]),
    )
    return passport, train, parts[-1]


def _passport(aisles: tuple[str, ...], trained_on: str) -> Passport:
    width, height = SIZE_WH
    return Passport(aisles=aisles, width=width, height=height, sha256="", trained_on=trained_on)


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


def write(network: AisleNetwork, passport: Passport, out: Path) -> None:
    """Write the network and its passport into the folder `out`."""
    raw = to_onnx(network, passport.height, passport.width)
    out.mkdir(parents=True, exist_ok=True)
    (out / NETWORK).write_bytes(raw)
    sealed = passport.model_copy(update={"sha256": hashlib.sha256(raw).hexdigest()})
    (out / PASSPORT).write_text(sealed.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _tensor(pictures: Pictures) -> torch.Tensor:
    """Return (B, 3, H, W) of pictures (B, H, W, 3)."""
    return torch.from_numpy(np.ascontiguousarray(pictures.transpose(0, 3, 1, 2)))


if __name__ == "__main__":
    sys.exit(main())
