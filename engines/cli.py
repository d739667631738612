"""The `edge-build-engine` command: a trained model and images in, a proven INT8 bundle out."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from rich.console import Console

from edge.cli import guarded
from edge.detector.bundle import load_bundle
from edge.detector.preflight import plan_spec
from edge.errors import PIP, MissingPackage, RuntimeFailure
from engines.arguments import parser
from engines.errors import AlreadyQuantised, BuildError
from engines.progress import shown

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from edge.detector.bundle import Bundle
    from engines.progress import Progress

_INTERRUPTED = 130


class _Lines(logging.Handler):
    """A warning is one line, whatever the width, and above the progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        said = f"{record.levelname.lower()}: {self.format(record)}"
        self._console.print(said, markup=False, highlight=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Build a bundle; errors of ours become one line on stderr and their exit status."""
    return guarded("edge-build-engine", lambda: _obey(argv))


def _obey(argv: Sequence[str] | None) -> int:
    words = parser()
    arguments = words.parse_args(argv)
    if (arguments.model is None) == (arguments.plan is None):
        words.error("give a MODEL.onnx to build a bundle from, or --plan BUNDLE")
    if arguments.model and not arguments.explain and not (arguments.images and arguments.out):
        words.error("--images and --out are required (or --explain, to look at the model only)")
    console = Console(stderr=True, soft_wrap=True)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[_Lines(console)])
    try:
        if arguments.plan:
            with shown(console) as progress:
                _add_plan(load_bundle(arguments.plan), arguments, progress)
        else:
            _run(arguments, console)
    except KeyboardInterrupt:
        print("edge-build-engine: stopped; nothing was written", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _run(arguments: argparse.Namespace, console: Console) -> None:
    try:
        from engines.build import build
        from engines.inspection import understand
        from engines.order import gate_of, order_of
        from engines.outcome import print_result
        from engines.quantised import refuse
    except ImportError as error:
        raise MissingPackage(
            f"{error.name} is not installed", f"{PIP} install 'aisle-edge[build]'"
        ) from error
    if arguments.runtime == "tensorrt" and not arguments.explain:
        from engines.on_device import require_device

        require_device()
    gate, order = gate_of(arguments), order_of(arguments)
    try:
        adapted = understand(order)
    except AlreadyQuantised as error:
        if arguments.explain:
            raise
        with shown(console) as progress:
            refuse(order, arguments.images, error, progress)
    print("\n".join(adapted.explain()), flush=True)
    if arguments.explain:
        return
    with shown(console) as progress:
        built = build(adapted, arguments.images, arguments.out, progress, gate)
    print_result(built)
    if arguments.runtime == "onnxruntime":
        return
    try:
        with shown(console) as progress:
            _add_plan(built.bundle, arguments, progress)
    except (MissingPackage, RuntimeFailure, BuildError) as error:
        if arguments.runtime == "tensorrt":
            raise
        print(f"no TensorRT plan was compiled here: {error.message}")


def _add_plan(bundle: Bundle, arguments: argparse.Namespace, progress: Progress) -> None:
    from engines.on_device import add_plan
    from engines.plan import Limits

    limits = Limits(bundle.passport.max_batch, bundle.path, arguments.workspace, arguments.dla)
    spec = plan_spec(add_plan(bundle, limits, progress))
    times = ", ".join(f"{name} {ms} ms" for name, ms in spec.milliseconds.items())
    print(
        f"plan for {spec.device}, TensorRT {spec.tensorrt}: {spec.precision} kept ({times} a "
        f"frame), batches of up to {spec.max_batch}"
    )
    if spec.dla:
        print(f"DLA {spec.dla['core']}: {spec.dla['layers']} layers; on the GPU instead:")
        print("\n".join(f"  {layer}" for layer in spec.dla["on_gpu"]))
    for warning in spec.warnings:
        print(f"warning of TensorRT: {warning}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
