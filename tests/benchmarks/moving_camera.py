"""How often a moving camera knows its aisle: `python -m tests.benchmarks.moving_camera CLASSIFIER`.

Drives, at 5 frames a second, the held-out laps of the shelf world that the built-in classifier was
trained in (other stock than in any training lap), once with markers on the uprights and once
without, in three lights; then the same racks with all their goods exchanged (in another size the
world has other goods), and one lap of a building that the classifier has never seen. Prints the
share of frames put in the right aisle, in a wrong one, and in none: by the frame alone, and
smoothed over time as the daemon does it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np

from edge.aisles.classifier import AisleClassifier, read_passport
from edge.aisles.markers import MarkerReader
from edge.aisles.whereabouts import Whereabouts
from edge.capture.shelf_world.options import parse_world
from edge.capture.shelf_world.world import ShelfWorld
from edge.config import AislesBy
from edge.frame import Frame, FrameStamp

FPS = 5
HOLD_S = AislesBy(markers="aruco_4x4_50").hold_s
LAP_S = 12 * 7.2
LAPS = (40, 42)
"""First, and one past the last: half an hour after the training laps."""
START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def as_drawn(image, number):
    return image


def dim(image, number):
    """A third of the light, and warmer."""
    return (image * np.float32([0.28, 0.33, 0.42])).astype(np.uint8)


def bad(image, number):
    """Dim, smeared by 4 to 20 pixels, noisy, and somebody before the lens every third second."""
    dark = cv2.blur(dim(image, number), (4 + 4 * (number * 7 % 5), 1)).astype(np.int16)
    noise = np.random.default_rng(number).normal(0, 6, (*image.shape[:2], 1)).astype(np.int16)
    spoilt = np.clip(dark + noise, 0, 255).astype(np.uint8)
    if number // FPS % 3 == 0:
        left = number * 37 % image.shape[1]
        spoilt[image.shape[0] // 6 :, left : left + image.shape[1] * 2 // 5] = (40, 45, 60)
    return spoilt


LIGHTS = (as_drawn, dim, bad)


def frames(uri, laps):
    """Yield the time, the picture and the aisle of each frame."""
    world = ShelfWorld(parse_world(uri))
    for number in range(round(laps[0] * LAP_S * FPS), round(laps[1] * LAP_S * FPS)):
        yield number, world.frame(number / FPS)[0], world.aisle_at(number / FPS)


def alone(likelihood, aisles):
    """Return the aisle that a frame alone shows, None: no sign, or none of them."""
    best = int(np.argmax(likelihood))
    if likelihood.min() == likelihood.max() or best == len(aisles):
        return None
    return aisles[best]


class Remembered:
    """Signs that keep what they last said, so that both columns count the same looks."""

    def __init__(self, signs):
        self.signs, self.said, self.spent = signs, None, []

    def likelihood(self, image):
        before = time.thread_time()
        self.said = self.signs.likelihood(image)
        self.spent.append(time.thread_time() - before)
        return self.said


def measure(title, make_signs, aisles, drive):
    drives = {light: (Remembered(make_signs()), Counter(), Counter()) for light in LIGHTS}
    lost = {light: Whereabouts(aisles, drives[light][0], HOLD_S) for light in LIGHTS}
    for number, image, there in drive:
        for light, (signs, by_frame, smoothed) in drives.items():
            shown = light(image, number)
            size = (image.shape[1], image.shape[0])
            stamp = FrameStamp("m", number, START, number / FPS, size)
            found = lost[light].stamped(Frame(stamp, shown)).stamp.aisle
            smoothed[verdict(found, there)] += 1
            by_frame[verdict(alone(signs.said, aisles), there)] += 1
    for light, (signs, by_frame, smoothed) in drives.items():
        shares = [shown_as(counts) for counts in (by_frame, smoothed)]
        cost = np.median(signs.spent) * 1e3
        print(
            f"{title:24} {light.__name__:9} {shares[0]}   {shares[1]}   {cost:4.1f} ms", flush=True
        )


def verdict(found, there):
    if found == there:
        return "right"
    return "none" if found is None else "wrong"


def shown_as(counts):
    total = counts.total()
    return " ".join(f"{100 * counts[key] / total:5.1f}" for key in ("right", "wrong", "none"))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("classifier", type=Path)
    directory = parser.parse_args().classifier
    cv2.setNumThreads(1)
    passport = read_passport(directory)
    aisles = list(passport.aisles)
    uri = passport.trained_on.partition(", laps")[0]
    stranger = uri.replace("seed=5", "seed=401&style=held_out")

    def markers():
        return MarkerReader("aruco_4x4_50", [[int(aisle)] for aisle in aisles])

    def classifier():
        return AisleClassifier(directory, aisles)

    print(f"{'':34} frame alone: right wrong none   smoothed: right wrong none   cost")
    large = uri.replace("width=640&height=360", "width=1280&height=720")
    measure("markers", markers, aisles, frames(large + "&markers=1", LAPS))
    measure("classifier", classifier, aisles, frames(uri, LAPS))
    measure("classifier, other goods", classifier, aisles, frames(large, LAPS))
    nowhere = ((number, image, None) for number, image, _ in frames(stranger, (0, 1)))
    measure("classifier, other place", classifier, aisles, nowhere)


if __name__ == "__main__":
    main()
