"""Does a plan fit this device? Asked of the passport, before TensorRT is shown the plan."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from edge.errors import PlanRefused

from .bundle import KERNEL, PLAN

if TYPE_CHECKING:
    from .bundle import Bundle, PlanSpec

COMPILE = "compile it here: edge-build-engine --plan BUNDLE"
_RELEASE_PARTS = 3
"""Numbers of a TensorRT version that decide whether a plan loads: its build number does not."""


def plan_spec(bundle: Bundle) -> PlanSpec:
    """Return what a bundle's plan was compiled with; raises `PlanRefused` where it has none."""
    spec = bundle.passport.plan
    if spec is None or not (bundle.has(PLAN) and bundle.has(KERNEL)):
        raise PlanRefused(f"bundle {bundle.path} holds no plan", COMPILE)
    return spec


def refuse_foreign(bundle: Bundle, plan: bytes, tensorrt: str, compute_capability: str) -> None:
    """Raise `PlanRefused` unless `plan` is the bundle's, made by this TensorRT for this GPU."""
    spec = plan_spec(bundle)
    for what, made, here in (
        ("by TensorRT", _release(spec.tensorrt), _release(tensorrt)),
        ("for compute capability", spec.compute_capability, compute_capability),
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


def _release(version: str) -> str:
    return ".".join(version.split(".")[:_RELEASE_PARTS])
