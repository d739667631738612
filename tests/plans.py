"""A quadrant bundle with a plan for the double of a GPU."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from tests.fakes.gpu import CUBIN
from tests.fakes.tensorrt import plan
from tests.quadrants import graph, write_bundle

if TYPE_CHECKING:
    from pathlib import Path

TENSORRT = "10.3.0"


def write_portable_bundle(path: Path, *, gain: float = 1.0) -> Path:
    """Write a bundle with a graph for TensorRT, which multiplies scores by `gain`."""
    write_bundle(path)
    with np.load(path / "golden.npz") as archive:
        arrays = dict(archive)
    for name in ("boxes", "scores", "labels"):
        arrays[f"model.trt.onnx:{name}"] = arrays[f"model.onnx:{name}"]
    np.savez_compressed(path / "golden.npz", **arrays)
    (path / "model.trt.onnx").write_bytes(graph(gain).SerializeToString())
    _write_passport(path)
    return path


def write_plan_bundle(path: Path, *, gain: float = 1.0, max_batch: int = 4) -> Path:
    """Write a bundle whose plan multiplies scores by `gain`: other than 1 fails its golden."""
    write_portable_bundle(path)
    (path / "engine.plan").write_bytes(plan(graph(gain).SerializeToString(), max_batch))
    (path / "letterbox.cubin").write_bytes(CUBIN)
    _write_passport(
        path,
        plan={
            "tensorrt": TENSORRT,
            "cuda": "12.6",
            "device": "Fake Orin",
            "compute_capability": "8.7",
            "precision": "int8",
            "max_batch": max_batch,
        },
    )
    return path


def _write_passport(path: Path, **more: object) -> None:
    passport = json.loads((path / "bundle.json").read_text()) | more
    passport["files"] = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in path.iterdir()
        if file.name != "bundle.json"
    }
    (path / "bundle.json").write_text(json.dumps(passport))
