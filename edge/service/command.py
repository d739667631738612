"""`edge run`: the daemon in the foreground, as systemd and people run it."""

from __future__ import annotations

import gc
import logging
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge import __version__
from edge.config_file import read_config_file
from edge.detector.bundle import load_bundle
from edge.errors import BrokerRefused, EdgeError, RuntimeFailure, StartError

from .daemon import Daemon, compose_for
from .log import LogWriter
from .signals import Signals
from .systemd import notify, watchdog_interval_s

if TYPE_CHECKING:
    import argparse

    from edge.config import Config
    from edge.detector.bundle import Bundle
    from edge.reporting.compose import Composer

log = logging.getLogger(__name__)

LOOK_S = 0.1
HUNG_S = 40.0
"""Longer than systemd's watchdog in deploy/ waits: this is for where there is no systemd."""
_BACK = "the configuration before it is in service again"


@dataclass(frozen=True, slots=True)
class _Plan:
    """A configuration and the bundle it names, known to fit each other."""

    config: Config
    bundle: Bundle


class _NotServing(Exception):  # noqa: N818 - reads as what happened
    """A configuration turned out not to work here, before it ever did; the one before it did."""

    def __init__(self, error: EdgeError) -> None:
        super().__init__(str(error))
        self.error = error


class _Line:
    """One daemon after the other, each of another configuration."""

    def __init__(self, signals: Signals, path: Path) -> None:
        self._signals = signals
        self._path = path
        self._composer: Composer | None = None
        self._before: _Plan | None = None
        self._note = ""
        self.ended = True
        """Whether every thread so far has ended."""

    def serve(self, plan: _Plan) -> _Plan | None:
        """Run a configuration until told to stop; return what to run after it, or None: nothing.

        After one that never comes to serve that is the one before it; its `EdgeError` is raised
        where there was none, and so is one that ends it later.
        """
        before, self._before = self._before, plan
        if before is not None:
            # A daemon is a knot of threads and callbacks: left to itself it and its frames stay in
            # memory for half a dozen reloads.
            gc.collect()
        try:
            return self._run(plan)
        except _NotServing as failed:
            if before is None:
                raise failed.error from None
            self._before, self._note = None, f"reload: {failed.error}; {_BACK}"
            log.error("%s", self._note)  # noqa: TRY400 - its one line says all there is to say
            return before

    def _run(self, plan: _Plan) -> _Plan | None:
        self._composer = compose_for(plan.config, plan.bundle, self._composer)
        note, self._note = self._note, ""
        following: _Plan | None = plan
        try:
            daemon = Daemon(plan.config, plan.bundle, self._composer, self._signals.ask_to_reload)
        except EdgeError as error:
            raise _NotServing(error) from None
        try:
            daemon.start(note)
            following = _supervise(daemon, self._signals, self._path)
        except EdgeError as error:
            # A broker that has once taken us refuses nothing for good.
            if daemon.ready and not isinstance(error, BrokerRefused):
                raise
            raise _NotServing(error) from None
        finally:
            notify("STOPPING=1" if following is None else "STATUS=reloading")
            self.ended = daemon.stop() and self.ended
            log.info("stopped: %s", daemon.summary())
        return following


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")


def run(arguments: argparse.Namespace) -> int:
    """Run until told to stop; `EdgeError`s reach the command line with their exit status."""
    _log_to_stderr()
    signals = Signals()
    line = _Line(signals, arguments.config)
    plan: _Plan | None = _read(arguments.config)
    log.info("aisle-edge %s, configuration %s", __version__, arguments.config)
    try:
        while plan is not None:
            plan = line.serve(plan)
    except EdgeError as error:
        log.error("%s", error)  # noqa: TRY400 - its one line says all there is to say
        return _leave(error.exit_code, ended=line.ended)
    return _leave(0, ended=line.ended)


def _read(path: Path) -> _Plan:
    """Read a configuration and its bundle; raises the `EdgeError` that says what does not fit."""
    file = read_config_file(path)
    bundle = load_bundle(file.config.bundle)
    file.refuse_unknown_labels(bundle.labels)
    file.refuse_unknown_aisles()
    return _Plan(file.config, bundle)


def _supervise(daemon: Daemon, signals: Signals, path: Path) -> _Plan | None:
    """Watch over a running daemon; return what to run after it, or None: nothing."""
    watch, was_ready = _Watch(daemon), False
    while not signals.stop:
        daemon.check()
        if daemon.ready and not was_ready:
            was_ready = True
            notify("READY=1", "STATUS=running")
            log.info("ready")
        watch.look()
        if signals.take_reload():
            plan = _reread(path, signals)
            if plan is not None:
                return plan
        signals.wait(LOOK_S)
    signals.answer_reload(StartError("the device is stopping"))
    return None


class _Watch:
    """Feeds systemd's watchdog while the threads get on; ends a daemon in which they do not."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._every_s = min(watchdog_interval_s() or 1.0, 1.0)
        self._looked_at = 0.0
        self._hung_at: float | None = None

    def look(self) -> None:
        """Look after the threads, once a second; raises `RuntimeFailure` where only that helps."""
        now = time.monotonic()
        if now - self._looked_at < self._every_s:
            return
        self._looked_at = now
        stuck = ", ".join(self._daemon.stuck())
        if not stuck:
            self._hung_at = None
            notify("WATCHDOG=1")
        elif self._hung_at is None:
            self._hung_at = now
            log.error("threads hang: %s; unless they go on, a restart has to help", stuck)
        elif now - self._hung_at > HUNG_S:
            raise RuntimeFailure(
                f"threads hang: {stuck}",
                "start it again; if they hang again look at the runtime (`edge verify`) and at "
                "the outbox's disk",
            )


def _reread(path: Path, signals: Signals) -> _Plan | None:
    """Return the new configuration, or None, and what is wrong with it in the log."""
    try:
        plan = _read(path)
    except EdgeError as error:
        signals.answer_reload(error)
        log.error("reload: %s; the old configuration stays in service", error)  # noqa: TRY400
        return None
    log.info("reload: %s", path)
    signals.answer_reload(None)
    return plan


def _log_to_stderr() -> None:
    under_systemd = "JOURNAL_STREAM" in os.environ
    when = "" if under_systemd else "%(asctime)s "
    # Where the shell closed it, another file may have its number.
    writer = LogWriter(None if sys.stderr is None else sys.stderr.fileno())
    logging.basicConfig(
        handlers=[writer],
        level=logging.INFO,
        format=f"{when}%(levelname)s %(name)s: %(message)s",
    )


def _leave(status: int, *, ended: bool) -> int:
    if not ended:
        # A thread stuck inside a driver would take the interpreter's shutdown with it.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(status)
    return status
