"""Numbers on the command line: what argparse takes of them, and the line it refuses others with."""

from __future__ import annotations

import argparse
import math

_PORTS = 65535


def count(text: str) -> int:
    """Return a whole number of 1 or more."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of 1 or more, found {text!r}")
    return int(text)


def seconds(text: str) -> float:
    """Return a length of time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of seconds above 0, found {text!r}")
    return value


def port(text: str) -> int:
    """Return a TCP port."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _PORTS:
        raise argparse.ArgumentTypeError(f"expected a port, 1 to {_PORTS}, found {text!r}")
    return int(text)
