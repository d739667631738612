"""Which runtime serves a bundle on this machine."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import BundleError, MissingPackage, RuntimeFailure

from .bundle import PLAN, PORTABLE_GRAPH, TENSORRT_GRAPH
from .golden import FLOAT, hold_to_golden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .bundle import Bundle
    from .golden import GoldenResult
    from .runtime import Runtime

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Engine:
    """A runtime, not opened yet, and the part of the bundle whose golden it is held to.

    Where `instead` is given, it takes over if this one cannot serve: see `serving`.
    """

    runtime: Runtime
    part: str
    instead: Engine | None = None

    @contextmanager
    def serving(self, bundle: Bundle) -> Iterator[Serving]:
        """Open the runtime, hold it to the bundle's golden, and close it at the end.

        The thread that enters owns it. Raises what opening and golden raise, unless another engine
        may take over: then `runtime` and `part` become its own.
        """
        because = ""
        try:
            golden = self._ready(bundle)
        except (RuntimeFailure, MissingPackage, BundleError) as error:
            if self.instead is None:
                raise
            log.warning("%s; the bundle is served by the portable graph instead", error)
            because = f" instead of the plan: {error.message}"
            self.runtime, self.part, self.instead = self.instead.runtime, self.instead.part, None
            golden = self._ready(bundle)
        try:
            yield Serving(self.runtime, f"{self.runtime.describe()}{because}", golden)
        finally:
            self.runtime.close()

    def _ready(self, bundle: Bundle) -> GoldenResult:
        try:
            self.runtime.open()
            return hold_to_golden(bundle, self.runtime, self.part)
        except BaseException:
            self.runtime.close()
            raise


@dataclass(frozen=True, slots=True)
class Serving:
    """An open runtime that has passed its golden."""

    runtime: Runtime
    description: str
    """What runs where, and what was to run instead, for logs and the status message."""
    golden: GoldenResult


def choose_engine(bundle: Bundle, wanted: str, threads: int | None) -> Engine:
    """Return what serves: `wanted` is `auto`, `onnxruntime` or `tensorrt`.

    `auto` is the plan where the bundle holds one that this device can run, else the portable graph;
    `tensorrt` is the plan or nothing. Raises `RuntimeFailure` where it was asked for and is not in
    the bundle.
    """
    if wanted == "onnxruntime" or (wanted == "auto" and not bundle.has(PLAN)):
        return _portable(bundle, threads)
    if not bundle.has(PLAN):
        raise RuntimeFailure(
            f"runtime tensorrt: bundle {bundle.path} holds no {PLAN}",
            "compile it on this device with edge-build-engine --plan, or set `runtime: auto`",
        )
    instead = _portable(bundle, threads) if wanted == "auto" else None
    return plan_engine(bundle, instead)


def plan_engine(bundle: Bundle, instead: Engine | None = None) -> Engine:
    """Return the bundle's plan: INT8 is held to the INT8 graph, FP16 to the float model."""
    from .tensorrt import TensorRt

    spec = bundle.passport.plan
    part = FLOAT if spec is not None and spec.precision == "fp16" else TENSORRT_GRAPH
    return Engine(TensorRt(bundle), part, instead)


def _portable(bundle: Bundle, threads: int | None) -> Engine:
    from .onnxruntime import OnnxRuntime

    spec = bundle.passport.input
    shape = (spec.height, spec.width, 3)
    return Engine(OnnxRuntime(bundle.file(PORTABLE_GRAPH), shape, threads), PORTABLE_GRAPH)
