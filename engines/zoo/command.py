"""How the zoo's commands end."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from edge.errors import PIP, EdgeError, MissingPackage

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
            f"{error.name} is not installed", f"{PIP} install 'aisle-edge[train]'"
        ) from error
