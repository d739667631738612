"""Plans that no runtime may accept, in bundles whose passports fit this device."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

from engines.kernel import compile_kernel
from tests.plans import write_plan_bundle

if TYPE_CHECKING:
    from pathlib import Path

    from edge.detector.cuda import Device

_NOISE = np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8).tobytes()
FOREIGN = {
    "empty": b"",
    "truncated": b"ftrt" + _NOISE[:28],
    "corrupt": b"ftrt" + _NOISE,
    "of another program": b"\x7fELF" + _NOISE,
    "of another version": b"ftrt\x00\x00\x00\x00\x08\x06\x01" + bytes(1 << 16),
}
"""By what is wrong. `ftrt` is how plans begin."""


def write_bundle_with(plan: bytes, tensorrt: str, device: Device, path: Path) -> Path:
    """Write a bundle with that plan and a passport that says it was made here."""
    write_plan_bundle(path)
    (path / "engine.plan").write_bytes(plan)
    (path / "letterbox.cubin").write_bytes(compile_kernel(device.compute_capability))
    passport = json.loads((path / "bundle.json").read_text())
    passport["plan"] |= {
        "tensorrt": tensorrt,
        "compute_capability": device.compute_capability,
        "device": device.name,
    }
    for part in ("engine.plan", "letterbox.cubin"):
        passport["files"][part] = hashlib.sha256((path / part).read_bytes()).hexdigest()
    (path / "bundle.json").write_text(json.dumps(passport))
    return path
