"""`edge demo`: broker, daemon and `edge watch` on this machine; Ctrl-C ends them all."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from edge.capture.source import FORMS, parse_source
from edge.detector.bundle import load_bundle
from edge.errors import StartError
from edge.tools import amounts
from edge.tools.children import child, last_lines
from edge.tools.demo_broker import HOST, broker_command, free_port
from edge.tools.demo_config import BUILT_IN_BUNDLE, what_is_shown, write_config

if TYPE_CHECKING:
    import argparse
    import subprocess
    from collections.abc import Iterator, Sequence

_BROKER_S = 15
_LOOK_S = 0.1
_LINES = 12
_EDGE = (sys.executable, "-m", "edge")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--source",
        action="append",
        default=[],
        metavar="URI",
        help=f"a camera, may be repeated: {', '.join(FORMS)}; default: drawn shelves",
    )
    parser.add_argument(
        "--bundle",
        type=Path,
        metavar="BUNDLE",
        help="the detector to run; default: the built-in one",
    )
    parser.add_argument("--port", type=amounts.port, help="the broker's port; default: a free one")
    parser.add_argument("--seconds", type=amounts.positive, help="end by itself after so long")


def run(arguments: argparse.Namespace) -> int:
    """Run everything until Ctrl-C; `StartError` with the log's last lines if the daemon ends."""
    bundle = load_bundle(arguments.bundle or BUILT_IN_BUNDLE).path
    for source in arguments.source:
        parse_source(source)
    port = free_port(arguments.port)
    folder = Path(tempfile.mkdtemp(prefix="aisle-edge-demo-"))
    config = write_config(arguments.source, bundle, (HOST, port), folder)
    print(what_is_shown(arguments.source), flush=True)
    status = 0
    with _signals_interrupt(), contextlib.suppress(KeyboardInterrupt):
        status = _show(folder, port, config, arguments.seconds)
    # Not reached after a failure: then the folder stays, since its logs say why.
    shutil.rmtree(folder)
    return status


def _show(folder: Path, port: int, config: Path, seconds: float | None) -> int:
    """Run the three programs; return the status of `edge watch`, or 0 if it had not ended."""
    name, command = broker_command(port, folder)
    broker_log, daemon_log = folder / "broker.log", folder / "daemon.log"
    with broker_log.open("ab") as said, child(command, said) as broker:
        if not _answers(port, broker):
            raise _failure(f"the demo's broker, {name}, did not start", broker_log)
        with (
            daemon_log.open("ab") as output,
            child([*_EDGE, "run", "--config", str(config)], output) as daemon,
            child([*_EDGE, "watch", "--config", str(config)], None, signal.SIGINT) as watch,
        ):
            print(f"{name} on {HOST}:{port}; the daemon's log is {daemon_log}", flush=True)
            _wait_for_the_first_to_end([broker, daemon, watch], seconds)
            ended = [process.poll() for process in (broker, daemon, watch)]
    if ended[0] is not None:
        raise _failure(f"the demo's broker, {name}, ended with status {ended[0]}", broker_log)
    if ended[1] is not None:
        raise _failure(f"the daemon ended with status {ended[1]}", daemon_log)
    return ended[2] or 0


def _answers(port: int, broker: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + _BROKER_S
    while time.monotonic() < deadline and broker.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return True
        time.sleep(_LOOK_S)
    return False


def _wait_for_the_first_to_end(
    processes: Sequence[subprocess.Popen[bytes]], seconds: float | None
) -> None:
    deadline = time.monotonic() + seconds if seconds else float("inf")
    while time.monotonic() < deadline and all(process.poll() is None for process in processes):
        time.sleep(_LOOK_S)


def _failure(what: str, log: Path) -> StartError:
    for line in last_lines(log, _LINES):
        print(f"  {line}", file=sys.stderr)
    return StartError(what, f"its last lines are above, all of them in {log}")


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Let a closed terminal or a SIGTERM end the demo as Ctrl-C does."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, interrupt) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
