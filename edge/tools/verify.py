"""`edge verify`: hold a bundle to its golden detections, on this machine and its runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.detector.bundle import PORTABLE_GRAPH, load_bundle
from edge.detector.runtimes import choose_engine
from edge.tools.amounts import threads

if TYPE_CHECKING:
    import argparse

    from edge.detector.bundle import Bundle
    from edge.detector.golden import GoldenResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("bundle", type=Path, help="directory that edge-build-engine wrote")
    parser.add_argument("--runtime", choices=("auto", "onnxruntime", "tensorrt"), default="auto")
    parser.add_argument("--threads", type=threads, help="inference threads of a CPU runtime")


def run(arguments: argparse.Namespace) -> int:
    """Print what the golden frames gave; a bundle that fails raises `BundleError`, exit 3."""
    bundle = load_bundle(arguments.bundle)
    engine = choose_engine(bundle, arguments.runtime, arguments.threads)
    with engine.serving(bundle) as serving:
        _show(bundle, serving.description, serving.golden)
        on_plan = engine.part != PORTABLE_GRAPH
    if on_plan:
        with choose_engine(bundle, "onnxruntime", arguments.threads).serving(bundle) as portable:
            print(
                f"{'portable graph':<17} {portable.golden.milliseconds:.2f} ms, median, on "
                f"{portable.description}"
            )
    print("ok: this bundle detects here what it detected where it was built")
    return 0


def _show(bundle: Bundle, runtime: str, result: GoldenResult) -> None:
    passport, seen = bundle.passport, result.agreement
    rows = {
        "bundle": f"{passport.name} {passport.version} ({passport.family})",
        "runtime": runtime,
        "files": f"{len(passport.files)}, every sha256 as in the passport",
        "golden frames": f"{result.frames}, {seen.reference} detections expected",
        "kept": f"{result.kept:.3f} (at least {passport.tolerance.kept})",
        "unexpected": f"{result.phantom:.3f} (at most {1 - passport.tolerance.kept:.3f})",
        "mean IoU": f"{seen.mean_iou:.4f} (at least {passport.tolerance.mean_iou})",
        "mean score shift": (
            f"{seen.mean_score_shift:.4f} (at most {passport.tolerance.mean_score_shift})"
        ),
        "one frame": f"{result.milliseconds:.2f} ms, median",
    }
    for name, value in rows.items():
        print(f"{name:<17} {value}")
