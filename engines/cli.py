"""The `edge-build-engine` command: a trained model and images in, a proven INT8 bundle out."""

from __future__ import annotations

import argparse
import logging
import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.logging import RichHandler

from edge import __version__
from edge.detector.bundle import load_bundle
from edge.detector.preflight import plan_spec
from edge.errors import EdgeError, MissingPackage, RuntimeFailure
from engines.errors import AlreadyQuantised, BuildError
from engines.progress import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge.detector.bundle import Bundle
    from engines.gate import Gate
    from engines.inspection import Order
    from engines.progress import Progress

_INTERRUPTED = 130
_SMALLEST, _LARGEST = 32, 4096


def main(argv: Sequence[str] | None = None) -> int:
    """Build a bundle; errors of ours become one line on stderr and their exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.model is None) == (arguments.plan is None):
        parser.error("give a MODEL.onnx to build a bundle from, or --plan BUNDLE")
    if arguments.model and not arguments.explain and not (arguments.images and arguments.out):
        parser.error("--images and --out are required (or --explain, to look at the model only)")
    console = Console(stderr=True, soft_wrap=True)
    logging.basicConfig(
        level=logging.WARNING, format="%(message)s", handlers=[RichHandler(console=console)]
    )
    try:
        if arguments.plan:
            with shown(console) as progress:
                _add_plan(load_bundle(arguments.plan), arguments, progress)
        else:
            _run(arguments, console)
    except EdgeError as error:
        print(f"edge-build-engine: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("edge-build-engine: stopped; nothing was written", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _run(arguments: argparse.Namespace, console: Console) -> None:
    try:
        from engines.build import build
        from engines.inspection import understand
        from engines.outcome import print_result
        from engines.quantised import refuse
    except ImportError as error:
        raise MissingPackage(
            f"{error.name} is not installed", "pip install 'aisle-edge[build]'"
        ) from error
    gate, order = _gate(arguments), _order(arguments)
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


def _order(arguments: argparse.Namespace) -> Order:
    from engines.inspection import Order

    # A file name may hold what a bundle's name may not.
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", arguments.model.stem).strip("-._")
    return Order(
        model=arguments.model,
        name=arguments.name or stem[:64] or "model",
        version=arguments.version_,
        family=arguments.family,
        labels=arguments.labels,
        size_wh=arguments.size,
        iou=arguments.iou,
        anchors=arguments.anchors,
    )


def _gate(arguments: argparse.Namespace) -> Gate:
    from engines.evaluation.budget import Budget
    from engines.gate import Gate

    return Gate(
        Budget(max_score_shift=arguments.max_score_shift, max_map_drop=arguments.max_map_drop),
        annotations=arguments.annotations,
        allow_drop=arguments.allow_drop,
        search=arguments.search,
        tensorrt=arguments.runtime != "onnxruntime",
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edge-build-engine",
        description="Turn a trained ONNX detector into an INT8 bundle that still detects.",
    )
    parser.add_argument(
        "model", type=Path, nargs="?", metavar="MODEL.onnx", help="the trained float32 model"
    )
    parser.add_argument(
        "--plan", type=Path, metavar="BUNDLE",
        help="compile a TensorRT plan for this device into a bundle that was built elsewhere",
    )  # fmt: skip
    parser.add_argument(
        "--runtime", choices=("auto", "tensorrt", "onnxruntime"), default="auto",
        help="tensorrt: a plan or an error; auto: a plan too, where it can be compiled here; "
        "onnxruntime: no graph for TensorRT at all",
    )  # fmt: skip
    parser.add_argument(
        "--workspace", type=int, metavar="MB",
        help="memory that TensorRT may try things in (default: half of what the GPU has free)",
    )  # fmt: skip
    parser.add_argument(
        "--dla", type=int, metavar="CORE", help="run on this DLA what it takes; what not is listed"
    )
    parser.add_argument(
        "--images", type=Path, nargs="+", action="extend", metavar="DIR|VIDEO",
        help="photos and videos of what it will see, to calibrate and to evaluate on",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="BUNDLE", help="the directory to write")
    _add_accuracy(parser)
    parser.add_argument(
        "--labels", type=Path, metavar="FILE", help="names, where the model has none"
    )
    parser.add_argument("--family", metavar="NAME", help="where the graph leaves it open")
    parser.add_argument(
        "--size", type=_size, metavar="N|WxH", help="where the export leaves it open"
    )
    parser.add_argument(
        "--anchors", type=_pairs, default=(), metavar="W,H,W,H,…",
        help="of raw heads, in pixels, smallest stride first, as in the .cfg or .yaml",
    )  # fmt: skip
    parser.add_argument(
        "--iou", type=_share, metavar="0..1",
        help="overlap above which boxes of one label are one object (default: the family's own)",
    )  # fmt: skip
    parser.add_argument("--name", type=_word, help="the bundle's name (default: the model's)")
    parser.add_argument("--version", dest="version_", type=_word, default="1.0.0", metavar="V",
                        help="the bundle's version (default: 1.0.0)")  # fmt: skip
    parser.add_argument("--explain", action="store_true",
                        help="print what is inferred from the model, and stop")  # fmt: skip
    parser.epilog = f"aisle-edge {__version__}"
    return parser


def _add_accuracy(parser: argparse.ArgumentParser) -> None:
    accuracy = parser.add_argument_group(
        "accuracy", "what INT8 may cost; where it costs more, nothing is written and the exit is 4"
    )
    accuracy.add_argument(
        "--annotations", type=Path, metavar="COCO.json",
        help="what is in the images, by file name: accuracy is mAP then, else agreement with float",
    )  # fmt: skip
    accuracy.add_argument(
        "--max-map-drop", type=_amount, default=0.5, metavar="POINTS",
        help="of mAP50-95 and of AP50 (default: 0.5, which is 0.005)",
    )  # fmt: skip
    accuracy.add_argument(
        "--max-score-shift", type=_amount, default=0.02, metavar="0..1",
        help="mean, of detections that score 0.5 or more (default: 0.02)",
    )  # fmt: skip
    accuracy.add_argument(
        "--no-search", dest="search", action="store_false",
        help="do not look for the layers that must stay float32 when the budget is missed",
    )  # fmt: skip
    accuracy.add_argument(
        "--allow-drop", action="store_true",
        help="write a bundle that misses the budget; its passport says so",
    )  # fmt: skip


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of 0 or more, found {text!r}")
    return value


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
    size = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not _SMALLEST <= min(size) <= max(size) <= _LARGEST:
        raise argparse.ArgumentTypeError(
            f"expected N or WxH, {_SMALLEST} to {_LARGEST}, found {text!r}"
        )
    return size


def _pairs(text: str) -> tuple[float, ...]:
    found = re.findall(r"\d+(?:\.\d+)?", text)
    if not found or len(found) % 2 or re.sub(r"[\d.,;\s\[\]()]+", "", text):
        raise argparse.ArgumentTypeError(f"expected pairs of numbers, W,H,…, found {text!r}")
    return tuple(float(number) for number in found)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, found {text!r}")
    return value


def _word(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(
            f"expected up to 64 letters, digits, '.', '_', '-', found {text!r}"
        )
    return text


if __name__ == "__main__":
    sys.exit(main())
