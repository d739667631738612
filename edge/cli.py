"""The `edge` command: each verb is one module, imported only when it is asked for."""

from __future__ import annotations

import argparse
import errno
import importlib
import io
import os
import signal
import sys
from typing import TYPE_CHECKING

from edge import __version__
from edge.errors import ConfigError, EdgeError, StartError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS = {
    "run": ("edge.service.command", "run the daemon in the foreground"),
    "check": ("edge.tools.check", "validate a configuration file"),
    "demo": ("edge.tools.demo", "run everything here, broker included, and watch it"),
    "watch": ("edge.tools.watch", "show the aisles live, from the broker"),
    "verify": ("edge.tools.verify", "hold a bundle to its golden detections on this machine"),
    "bench": ("edge.tools.bench", "time the whole pipeline against the bare inference session"),
    "doctor": ("edge.tools.doctor", "say what this machine has, and what is missing for what"),
}
"""verb: (module with `add_arguments(parser)` and `run(arguments) -> exit status`, help)."""

_INTERRUPTED = 128 + signal.SIGINT
_NOBODY_READS = 128 + signal.SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; see `guarded`."""
    words = list(sys.argv[1:] if argv is None else argv)

    def work() -> int:
        arguments = _parser(words).parse_args(words)
        status: int = arguments.run(arguments)
        return status

    return guarded("edge", work)


def guarded(program: str, work: Callable[[], int]) -> int:
    """Return the exit status of what a program does; errors of ours become one line on stderr.

    So do a file that this user may not look at, wherever it came up, and an output that is full;
    where nobody reads the output any more, that is the end without a word, as of other programs.
    """
    _print_whatever_the_locale()
    try:
        status = work()
        print(end="", flush=True)
    except BrokenPipeError:
        _write_no_more()
        return _NOBODY_READS
    except OSError as error:
        print(f"{program}: {_of_the_system(error)}", file=sys.stderr)
        return StartError.exit_code
    except ConfigError as error:
        print(error, file=sys.stderr)  # each line begins with FILE:LINE, for editors to jump to
        return error.exit_code
    except EdgeError as error:
        print(f"{program}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return _INTERRUPTED
    return status


def _print_whatever_the_locale() -> None:
    """Write what the locale has no letter for as an escape, as stderr does anyway."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # it is None where the shell closed it
        sys.stdout.reconfigure(errors="backslashreplace")


def _write_no_more() -> None:
    """Keep Python from trying once more, at its end, what could not be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _of_the_system(error: OSError) -> str:
    """Say in one line what the system does not let us do; raises what is a mistake of ours."""
    if error.filename is not None:
        return (
            f"{error.filename}: {error.strerror}; check the path, and what this user may do there"
        )
    if error.errno == errno.ENOSPC:
        _write_no_more()
        return "the output cannot be written: its disk is full; free space on it"
    raise error


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="edge", description="Aisle Edge on this device.")
    parser.add_argument("--version", action="version", version=f"aisle-edge {__version__}")
    verbs = parser.add_subparsers(required=True, metavar="COMMAND")
    for verb, (module, help_) in COMMANDS.items():
        command = verbs.add_parser(verb, help=help_, description=help_)
        if verb in words[:1]:
            loaded = importlib.import_module(module)
            loaded.add_arguments(command)
            command.set_defaults(run=loaded.run)
    return parser


if __name__ == "__main__":
    sys.exit(main())
