"""Which threads and spinning ONNX Runtime should have on a device that does other things too.

    python -m tests.benchmarks.onnxruntime_threads BUNDLE

Frames come at a camera's pace, in turn for every setting, so that all meet the same machine. Per
setting: the median latency, and the processor time that a frame costs, spinning included.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

from edge.detector.onnxruntime import exact_products, products_fit

FPS = 10
ROUNDS = 6
FRAMES = 10


SPINNING = {
    "no": {"session.intra_op.allow_spinning": "0"},
    "in a run": {"session.intra_op.allow_spinning": "1", "session.force_spinning_stop": "1"},
    "yes": {"session.intra_op.allow_spinning": "1"},
}


def session(path: Path, threads: int, spinning: str) -> onnxruntime.InferenceSession:
    """Return a session as the daemon makes it, but for its threads and their spinning."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    products = {} if products_fit(path) else exact_products()
    for key, value in (SPINNING[spinning] | products).items():
        options.add_session_config_entry(key, value)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def turn(running: onnxruntime.InferenceSession, frame: np.ndarray) -> tuple[list[float], float]:
    """Run frames at the camera's pace; return each one's seconds, and processor seconds for all."""
    times, before = [], time.process_time()
    for _ in range(FRAMES):
        started = time.perf_counter()
        running.run(None, {"frames": frame})
        times.append(time.perf_counter() - started)
        time.sleep(max(0.0, 1 / FPS - times[-1]))
    return times, time.process_time() - before


def main(bundle: Path) -> None:
    """Print a row per setting."""
    with np.load(bundle / "golden.npz") as golden:
        frame = golden["frames"][:1]
    settings = [(threads, spin) for threads in (1, 2, 3, 4) for spin in SPINNING]
    latency = {setting: [] for setting in settings}
    processor = {setting: [] for setting in settings}
    for _ in range(ROUNDS):
        for setting in settings:
            running = session(bundle / "model.onnx", *setting)
            running.run(None, {"frames": frame})
            times, seconds = turn(running, frame)
            latency[setting] += times
            processor[setting].append(seconds / FRAMES)
            del running
    print("threads  spinning  latency ms  processor ms a frame")
    for threads, spin in settings:
        print(
            f"{threads:>7}  {spin:>8}  "
            f"{np.median(latency[threads, spin]) * 1e3:>10.1f}  "
            f"{np.median(processor[threads, spin]) * 1e3:>20.1f}"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
