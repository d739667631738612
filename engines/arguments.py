"""The words of the `edge-build-engine` command line."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

from edge import __version__
from edge.tools.amounts import positive

_SMALLEST, _LARGEST = 32, 4096
_GREYS = 255
_PROPOSALS = 1000


def parser() -> argparse.ArgumentParser:
    """Return what reads them; wrong ones end the process with status 2."""
    words = argparse.ArgumentParser(
        prog="edge-build-engine",
        description="Turn a trained ONNX detector into an INT8 bundle that still detects.",
    )
    words.add_argument(
        "model", type=Path, nargs="?", metavar="MODEL.onnx", help="the trained float32 model"
    )
    words.add_argument(
        "--plan", type=Path, metavar="BUNDLE",
        help="compile a TensorRT plan for this device into a bundle that was built elsewhere",
    )  # fmt: skip
    words.add_argument(
        "--runtime", choices=("auto", "tensorrt", "onnxruntime"), default="auto",
        help="tensorrt: a plan or an error; auto: a plan too, where it can be compiled here; "
        "onnxruntime: no graph for TensorRT at all",
    )  # fmt: skip
    words.add_argument(
        "--workspace", type=int, metavar="MB",
        help="memory that TensorRT may try things in (default: half of what the GPU has free)",
    )  # fmt: skip
    words.add_argument(
        "--dla", type=int, metavar="CORE", help="run on this DLA what it takes; what not is listed"
    )
    words.add_argument(
        "--images", type=Path, nargs="+", action="extend", metavar="DIR|VIDEO",
        help="photos and videos of what it will see, to calibrate and to evaluate on",
    )  # fmt: skip
    words.add_argument("--out", type=Path, metavar="BUNDLE", help="the directory to write")
    _add_accuracy(words)
    _add_feeding(words)
    words.add_argument(
        "--labels", type=Path, metavar="FILE", help="names, where the model has none"
    )
    words.add_argument("--family", metavar="NAME", help="where the graph leaves it open")
    words.add_argument(
        "--size", type=_size, metavar="N|WxH", help="where the export leaves it open"
    )
    words.add_argument(
        "--anchors", type=_pairs, default=(), metavar="W,H,W,H,…",
        help="of raw heads, in pixels, smallest stride first, as in the .cfg or .yaml",
    )  # fmt: skip
    words.add_argument(
        "--proposals", type=_count, metavar="N",
        help="how many a Faster R-CNN checkpoint keeps; fewer are faster (default: 1000)",
    )  # fmt: skip
    words.add_argument(
        "--iou", type=_share, metavar="0..1",
        help="overlap above which boxes of one label are one object (default: the family's own)",
    )  # fmt: skip
    words.add_argument("--name", type=_word, help="the bundle's name (default: the model's)")
    words.add_argument("--version", dest="version_", type=_word, default="1.0.0", metavar="V",
                        help="the bundle's version (default: 1.0.0)")  # fmt: skip
    words.add_argument("--explain", action="store_true",
                        help="print what is inferred from the model, and stop")  # fmt: skip
    words.epilog = f"aisle-edge {__version__}"
    return words


def _add_accuracy(words: argparse.ArgumentParser) -> None:
    accuracy = words.add_argument_group(
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


def _add_feeding(words: argparse.ArgumentParser) -> None:
    fed = words.add_argument_group(
        "feeding", "how the network was fed in training, where --explain shows it wrong"
    )
    fed.add_argument("--letterbox", choices=("centered", "top-left", "stretch"),
                     help="where a frame of another shape goes")  # fmt: skip
    fed.add_argument("--pad", type=_grey, metavar="0..255", help="grey of the bars")
    fed.add_argument("--colours", choices=("RGB", "BGR"), help="their order")
    fed.add_argument(
        "--scale", type=positive, metavar="F", help="a pixel is multiplied by this first"
    )
    fed.add_argument("--mean", type=_triple, metavar="A,B,C", help="then this is subtracted")
    fed.add_argument("--std", type=_divisors, metavar="A,B,C", help="then it is divided by this")


def _grey(text: str) -> int:
    if not re.fullmatch(r"\d{1,3}", text) or int(text) > _GREYS:
        raise argparse.ArgumentTypeError(f"expected 0 to {_GREYS}, found {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not re.fullmatch(r"\d{1,4}", text) or not 0 < int(text) <= _PROPOSALS:
        raise argparse.ArgumentTypeError(f"expected 1 to {_PROPOSALS}, found {text!r}")
    return int(text)


def _triple(text: str) -> tuple[float, float, float]:
    values = tuple(_amount(part) for part in text.split(","))
    if len(values) != 3:  # noqa: PLR2004
        raise argparse.ArgumentTypeError(f"expected three numbers, A,B,C, found {text!r}")
    return values


def _divisors(text: str) -> tuple[float, float, float]:
    values = _triple(text)
    if min(values) == 0:
        raise argparse.ArgumentTypeError(f"expected three numbers above 0, found {text!r}")
    return values


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
