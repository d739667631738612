"""Which runtime serves a bundle on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import RuntimeFailure

from .bundle import PORTABLE_GRAPH

if TYPE_CHECKING:
    from .bundle import Bundle
    from .runtime import Runtime


@dataclass(frozen=True, slots=True)
class Engine:
    """A runtime, not opened yet, and the part of the bundle that it will run."""

    runtime: Runtime
    part: str


def choose_engine(bundle: Bundle, wanted: str, threads: int | None) -> Engine:
    """Return what serves: `wanted` is `auto`, `onnxruntime` or `tensorrt`.

    Raises `RuntimeFailure` for a runtime that this version does not have.
    """
    if wanted == "tensorrt":
        raise RuntimeFailure(
            "runtime tensorrt: this version runs bundles on ONNX Runtime only",
            "set `runtime: auto` or `runtime: onnxruntime`",
        )
    from .onnxruntime import OnnxRuntime

    spec = bundle.passport.input
    shape = (spec.height, spec.width, 3)
    return Engine(OnnxRuntime(bundle.file(PORTABLE_GRAPH), shape, threads), PORTABLE_GRAPH)
