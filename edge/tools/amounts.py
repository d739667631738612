"""Numbers on the command line: what argparse takes of them, and the line it refuses others with."""

from __future__ import annotations

import argparse
import math

from edge.config import MOST_THREADS

_PORTS = 65535


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    return _whole(text, "a whole number, 1 or more", 10**6)


def threads(text: str) -> int:
    """Return a number of threads, as many as a configuration may ask for."""
    return _whole(text, f"1 to {MOST_THREADS} threads", MOST_THREADS)


def port(text: str) -> int:
    """Return a TCP port."""
    return _whole(text, f"a port, 1 to {_PORTS}", _PORTS)


def _whole(text: str, expected: str, most: int) -> int:
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= most:
        raise argparse.ArgumentTypeError(f"expected {expected}, found {text!r}")
    return int(text)


def positive(text: str) -> float:
    """Return a number above 0, a length of time for example."""
    value = _number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return value


def share(text: str) -> float:
    """Return a share of something, 0 to 1."""
    value = _number(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected 0 to 1, found {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
