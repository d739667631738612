"""How fast the shelf world draws on one core: `python -m tests.benchmarks.shelf_world`.

Per view: the time to the first frame, then frames in sequence at 30 to the second of the world's
own time, with the stock changing and people walking through, as the median, the slowest in a
hundred and the mean.
"""

from __future__ import annotations

import argparse
import time

import cv2
import numpy as np

from edge.capture.shelf_world.options import parse_world
from edge.capture.shelf_world.world import ShelfWorld


def measure(uri: str, seconds: float) -> str:
    started = time.perf_counter()
    world = ShelfWorld(parse_world(uri))
    world.frame(0.0)
    first = time.perf_counter() - started
    spent = []
    for number in range(round(seconds * 30)):
        before = time.process_time()
        world.frame(number / 30)
        spent.append(time.process_time() - before)
    middle, slow, mean = np.median(spent), np.quantile(spent, 0.99), np.mean(spent)
    return (
        f"{uri:58} first {first:5.2f} s  median {middle * 1e3:5.1f} ms  "
        f"p99 {slow * 1e3:6.1f} ms  mean {mean * 1e3:5.1f} ms = {1 / mean:5.1f} frames/s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the world's time, per view")
    seconds = parser.parse_args().seconds
    cv2.setNumThreads(1)
    for uri in (
        "synthetic://shelf?seed=7",
        "synthetic://aisle?seed=7",
        "synthetic://mast?seed=7",
        "synthetic://shelf?seed=7&width=640&height=360",
    ):
        print(measure(uri, seconds), flush=True)


if __name__ == "__main__":
    main()
