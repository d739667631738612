"""Train an aisle classifier for a moving camera: `python -m engines.zoo.aisle_classifier`.

Each LAP is the folder of one drive through all aisles, with a folder of photos or a video per
aisle, named after it, and perhaps one `elsewhere`. The last LAP is held out, to measure on. With no
LAP the drives are through the shelf world. The same input gives the same network on one machine.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.aisles.classifier import NETWORK, PASSPORT, Passport
from edge.capture.shelf_world.options import parse_world
from engines.errors import ImagesError
from engines.zoo import command
from engines.zoo.aisle_frames import WORLD, Frames, aisles_of, drawn, recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

SIZE_WH = (160, 90)
_TRAIN_LAPS, _HELD_OUT_LAPS = range(10), range(40, 43)
_TRAIN_SEEDS, _HELD_OUT_SEEDS = range(100, 180), range(300, 340)


def main(arguments: Sequence[str] | None = None) -> int:
    """Train; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m engines.zoo.aisle_classifier", description=__doc__
    )
    parser.add_argument("laps", metavar="LAP", nargs="*", type=Path)
    parser.add_argument("--out", metavar="DIR", type=Path, required=True)
    given = parser.parse_args(arguments)
    return command.ended("aisle_classifier", partial(_make, given.laps, given.out))


def _make(laps: Sequence[Path], out: Path) -> None:
    from engines.zoo.aisle_network import to_onnx
    from engines.zoo.aisle_training import accuracy, fit, relit

    passport, train, held_out = _of_laps(laps) if laps else _of_world()
    print(f"{len(train.images)} pictures to train on, {len(held_out.images)} held out")
    network = fit(train, len(passport.aisles) + 1)
    measured = {
        "held_out": accuracy(network, held_out),
        "held_out_dimmed": accuracy(network, relit(held_out)),
    }
    for name, share in measured.items():
        print(f"{name}: {share:.4f} of the pictures are put in the right aisle")
    raw = to_onnx(network, passport.height, passport.width)
    write(raw, passport.model_copy(update={"measured": measured}), out)
    print(f"{out}: {', '.join(passport.aisles)}")


def _of_world() -> tuple[Passport, Frames, Frames]:
    passport = _passport(parse_world(WORLD).aisles, f"{WORLD}, laps 0 to {_TRAIN_LAPS[-1]}")
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


def write(raw: bytes, passport: Passport, out: Path) -> None:
    """Write the network, an ONNX file's bytes, and its passport into the folder `out`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / NETWORK).write_bytes(raw)
    sealed = passport.model_copy(update={"sha256": hashlib.sha256(raw).hexdigest()})
    (out / PASSPORT).write_text(sealed.model_dump_json(indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
