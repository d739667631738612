"""Compile a bundle's plan on the device it has arrived on, prove it there, and keep it."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edge.detector import bundle as bundles
from edge.detector.cuda import Device
from edge.detector.golden import load_golden
from edge.detector.preflight import plan_spec
from edge.detector.runtimes import plan_engine
from edge.errors import PIP, BundleError, MissingPackage, RuntimeFailure

try:
    import onnx
except ImportError as error:  # a board that only runs bundles has no need of it
    raise MissingPackage(
        f"onnx, which a plan is compiled with, is not installed ({error})",
        # Not the extra: its OpenCV would shadow a Jetson's own, which needs the NumPy that is here.
        f"{PIP} install onnx numpy=={np.__version__}",
    ) from error

from engines.errors import BuildError
from engines.kernel import compile_kernel
from engines.plan import compile_plan, tensorrt_version

if TYPE_CHECKING:
    from edge.detector.bundle import Bundle, Passport, PlanSpec
    from edge.detector.runtime import Runtime
    from engines.plan import Compiled, Limits, Precision, Progress

log = logging.getLogger(__name__)

_COMPILED = (bundles.PLAN, bundles.KERNEL)
_PRECISIONS: tuple[Precision, ...] = ("int8", "fp16")
WARM_UP_S = 1.0
"""A Jetson's clocks take tenths of a second to rise: the plan timed first would seem slower."""
ROUNDS = 100


def add_plan(bundle: Bundle, limits: Limits, progress: Progress) -> Bundle:
    """Compile INT8 and FP16 plans here, hold both to golden, keep the faster one in the bundle.

    The timing cache and the builder's log are left beside the bundle. Raises `MissingPackage` and
    `RuntimeFailure` where this machine has no GPU or no TensorRT, and `BuildError` where no plan
    can be had; the bundle is then as it was.
    """
    if not bundle.has(bundles.TENSORRT_GRAPH):
        raise BuildError(
            f"bundle {bundle.path} holds no {bundles.TENSORRT_GRAPH}, which a plan is made from",
            "build the bundle again; the build says why it left that graph out",
        )
    device = Device()
    try:
        about = _about(device, limits)
        kernel = compile_kernel(device.compute_capability)
        graph = onnx.load(str(bundle.file(bundles.TENSORRT_GRAPH)))
        compiled = [compile_plan(graph, p, limits, device, progress) for p in _PRECISIONS]
    finally:
        device.release()
    with tempfile.TemporaryDirectory(prefix="aisle-edge-plan-") as scratch:
        staged = [
            _stage(bundle, one, kernel, _spec(about, one), Path(scratch) / one.precision)
            for one in compiled
        ]
        milliseconds = _time_all(staged, progress)
    best = min(milliseconds, key=lambda precision: milliseconds[precision])
    kept = next(one for one in compiled if one.precision == best)
    spec = _spec(about, kept).model_copy(update={"milliseconds": milliseconds})
    _install(bundle, kept.plan, kernel, spec)
    return bundles.load_bundle(bundle.path)


def require_device() -> None:
    """Raise before a long build what `add_plan` would after it, without a GPU or TensorRT."""
    Device().release()
    tensorrt_version()


def _about(device: Device, limits: Limits) -> PlanSpec:
    """Return what the plans of this device have in common."""
    return bundles.PlanSpec(
        tensorrt=tensorrt_version(),
        cuda=device.cuda_version,
        device=device.name,
        compute_capability=device.compute_capability,
        precision="int8",
        max_batch=limits.batch,
    )


def _spec(about: PlanSpec, compiled: Compiled) -> PlanSpec:
    return about.model_copy(
        update={
            "precision": compiled.precision,
            "dla": compiled.dla,
            "warnings": compiled.warnings,
        }
    )


def _time_all(staged: list[Bundle], progress: Progress) -> dict[str, float]:
    """Return the milliseconds of one frame, by precision, of the plans that pass golden here.

    Raises `BuildError` with the reasons where none does.
    """
    milliseconds: dict[str, float] = {}
    reasons = []
    for bundle in staged:
        precision = plan_spec(bundle).precision
        progress(f"timing {precision}", 0, 1)
        try:
            with plan_engine(bundle).serving(bundle) as serving:
                milliseconds[precision] = _median_ms(serving.runtime, bundle)
        except (BundleError, RuntimeFailure) as error:
            log.warning("the %s plan is not kept: %s", precision, error)
            reasons.append(f"{precision}: {error.message}")
    if not milliseconds:
        raise BuildError(
            f"no plan detects here what the bundle's graphs detect: {'; '.join(reasons)}",
            "look for skipped tactics in the builder's logs beside the bundle, and free memory",
        )
    return milliseconds


def _median_ms(runtime: Runtime, bundle: Bundle) -> float:
    """Return the time of one frame, there and back, in milliseconds."""
    frames = load_golden(bundle, bundles.PORTABLE_GRAPH).frames
    times: list[float] = []
    began = time.perf_counter()
    while len(times) < ROUNDS:
        batch = frames[len(times) % len(frames)][np.newaxis]
        started = time.perf_counter()
        runtime.infer(batch)
        if started - began >= WARM_UP_S:
            times.append(time.perf_counter() - started)
    return round(float(np.median(times)) * 1e3, 4)


def _stage(
    bundle: Bundle, compiled: Compiled, kernel: bytes, spec: PlanSpec, folder: Path
) -> Bundle:
    """Return a bundle like this one with another plan, elsewhere."""
    folder.mkdir()
    for part in bundle.passport.files:
        if part not in _COMPILED:
            (folder / part).symlink_to(bundle.file(part))
    _write_parts(folder, bundle.passport, compiled.plan, kernel, spec)
    return bundles.load_bundle(folder)


def _install(bundle: Bundle, plan: bytes, kernel: bytes, spec: PlanSpec) -> None:
    """Put a plan into the bundle; at every moment what the passport lists is there and whole."""
    files = {part: sum_ for part, sum_ in bundle.passport.files.items() if part not in _COMPILED}
    without = bundle.passport.model_copy(update={"files": files, "plan": None})
    try:
        _replace(bundle.path / bundles.PASSPORT, _text(without))
        _write_parts(bundle.path, without, plan, kernel, spec)
    except OSError as error:
        raise BuildError(
            f"bundle {bundle.path}: the plan cannot be written: {error.strerror}",
            "run it as a user that may write there, on a disk with room",
        ) from error


def _write_parts(
    folder: Path, passport: Passport, plan: bytes, kernel: bytes, spec: PlanSpec
) -> None:
    """Write plan and kernel, then the passport that lists them."""
    files = dict(passport.files)
    for part, content in ((bundles.PLAN, plan), (bundles.KERNEL, kernel)):
        _replace(folder / part, content)
        files[part] = hashlib.sha256(content).hexdigest()
    _replace(
        folder / bundles.PASSPORT,
        _text(passport.model_copy(update={"files": dict(sorted(files.items())), "plan": spec})),
    )


def _text(passport: Passport) -> bytes:
    return f"{passport.model_dump_json(by_alias=True, indent=2)}\n".encode()


def _replace(path: Path, content: bytes) -> None:
    """Write a file so that it has either its old content or all of the new, power cut or not."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
