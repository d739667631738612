"""Does a plan fit this device? Asked of the passport, before TensorRT is shown the plan."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edge.errors import PlanRefused

from .bundle import KERNEL, PLAN

if TYPE_CHECKING:
    from .bundle import Bundle, PlanSpec
    from .cuda import Device

COMPILE = "compile it here: edge-build-engine --plan BUNDLE"
_RELEASE_PARTS = 3
"""Numbers of a TensorRT version that decide whether a plan loads: its build number does not."""


def plan_spec(bundle: Bundle) -> PlanSpec:
    """Return what a bundle's plan was compiled with; raises `PlanRefused` where it has none."""
    spec = bundle.passport.plan
    if spec is None or not (bundle.has(PLAN) and bundle.has(KERNEL)):
        raise PlanRefused(f"bundle {bundle.path} holds no plan", COMPILE)
    return spec


def refuse_foreign(bundle: Bundle, plan: bytes, tensorrt: str, device: Device) -> None:
    """Raise `PlanRefused` unless `plan` is the bundle's, made by this TensorRT for this GPU.

    The driver must not be older than the one it was made with: TensorRT crashes on one too old.
    """
    spec = plan_spec(bundle)
    for what, made, here in (
        ("by TensorRT", _release(spec.tensorrt), _release(tensorrt)),
        ("for compute capability", spec.compute_capability, device.compute_capability),
        ("with a driver of CUDA", spec.cuda, min(device.cuda_version, spec.cuda, key=_numbers)),
    ):
        if made != here:
            raise PlanRefused(
                f"{bundle.file(PLAN)} was compiled {what} {made}, here is {here}", COMPILE
            )
    found = hashlib.sha256(plan).hexdigest()
    if found != bundle.passport.files[PLAN]:
        raise PlanRefused(
            f"{bundle.file(PLAN)}: sha256 {found[:12]}… is not the passport's", COMPILE
        )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".") if part.isdigit()]


def _release(version: str) -> str:
    return ".".join(version.split(".")[:_RELEASE_PARTS])
