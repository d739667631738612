"""What the zoo's commands have in common: how they end, and what their words may be."""

from __future__ import annotations

import argparse
import logging
import math
import sys
from typing import TYPE_CHECKING

from edge.errors import EdgeError, MissingPackage

if TYPE_CHECKING:
    from collections.abc import Callable

_INTERRUPTED = 130


def ended(name: str, work: Callable[[], None]) -> int:
    """Do the work of `python -m engines.zoo.NAME`, and return its exit status.

    Errors of ours become one line on stderr, a package that is not installed among them; the work
    imports those that it needs.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        _with_packages(work)
    except EdgeError as error:
        print(f"engines.zoo.{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"engines.zoo.{name}: stopped", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _with_packages(work: Callable[[], None]) -> None:
    try:
        work()
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"{error.name} is not installed", "pip install 'aisle-edge[train]'"
        ) from error


def count(text: str) -> int:
    """Return a number of steps, frames, threads or processes: 1 or more."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, found {text!r}")
    return int(text)


def share(text: str) -> float:
    """Return a share of something, 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, found {text!r}")
    return value


def positive(text: str) -> float:
    """Return a number above 0."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
