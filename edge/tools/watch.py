"""`edge watch`: the aisles of every device of a broker, live in a terminal or as JSON lines."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pydantic import TypeAdapter, ValidationError
from rich.console import Console
from rich.live import Live
from rich.text import Text
from uuid6 import uuid7

from edge.config import MqttConfig, TlsConfig, TopicLevel
from edge.config_file import load_config
from edge.config_problems import expected_of
from edge.errors import ConfigError, StartError
from edge.reporting.connection import Connection
from edge.reporting.link import Arrived
from edge.reporting.topics import everything_below

from .watch_board import Board, Fitted, plain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import RenderableType

    from edge.reporting.link import Event

_REACH_S = 6.0
"""How long a broker that was never reached is tried."""
_REDRAW_S = 0.25
_REPRINT_S = 5.0
_RETAINED_S = 1.5
"""How long `--once` waits for what the broker has retained."""
_QUEUE_MOST = 20_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `edge watch`."""
    parser.add_argument("--config", type=Path, help="take the broker from this configuration")
    broker = parser.add_argument_group("the broker, instead of --config")
    broker.add_argument("--host", help="127.0.0.1 unless given")
    broker.add_argument("--port", type=int, help="1883 unless given")
    broker.add_argument("--prefix", help="of the topics; aisle-edge unless given")
    broker.add_argument("--username", help="else the environment's AISLE_EDGE_MQTT_USERNAME")
    broker.add_argument("--password-file", type=Path, help="else AISLE_EDGE_MQTT_PASSWORD")
    broker.add_argument("--ca-file", type=Path, help="TLS, with this authority (PEM)")
    broker.add_argument(
        "--tls", action="store_true", default=None, help="TLS; on already for port 8883"
    )
    parser.add_argument("--site", type=_site, help="only this site")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="one line per message, for pipes")
    form.add_argument("--once", action="store_true", help="print the table once and end")


def run(arguments: argparse.Namespace) -> int:
    """Show what comes until interrupted; exit 3 if the broker cannot be reached at all."""
    logging.getLogger("edge.reporting").setLevel(logging.CRITICAL)  # the screen says it
    signal.signal(signal.SIGTERM, _interrupt)  # so that the terminal is left in order
    watch = _Watch(_broker(arguments), arguments.site)
    try:
        watch.reach()
        if arguments.json:
            return _print_lines(watch)
        if arguments.once:
            return _print_once(watch)
        return _show(watch) if sys.stdout.isatty() else _print_often(watch)
    except BrokenPipeError:  # whoever read has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    finally:
        watch.connection.stop(1.0)


class _Watch:
    """A subscription and the messages that wait to be shown."""

    def __init__(self, broker: MqttConfig, site: str | None) -> None:
        self.board = Board(broker.prefix)
        self.left_out = 0
        self._arrived: deque[Arrived] = deque()
        self.connection = Connection(
            broker,
            f"aisle-edge-watch-{uuid7().hex}",
            self._hear,
            subscribe=everything_below(broker.prefix, site),
        )

    def reach(self) -> None:
        """Connect; raise what is in the way if that takes too long."""
        connection = self.connection
        connection.start()
        end = time.monotonic() + _REACH_S
        while not connection.connected:
            if connection.refused is not None:
                raise connection.refused
            if time.monotonic() > end:
                trouble = connection.trouble
                what, hint = (trouble.what, trouble.hint) if trouble else ("no answer in time", "")
                raise StartError(f"{connection.where}: {what}", hint)
            time.sleep(0.02)

    def arrived(self) -> Iterator[Arrived]:
        """Yield what waits."""
        while self._arrived:
            yield self._arrived.popleft()

    def render(self, width: int) -> tuple[RenderableType, Text]:
        """Take in what waits and return the board and the line below it."""
        for message in self.arrived():
            self.board.take(message.topic, message.payload)
        now = datetime.now(timezone.utc)
        return self.board.render(width, now), self._footer()

    def _hear(self, event: Event) -> None:
        if not isinstance(event, Arrived):
            return
        if len(self._arrived) < _QUEUE_MOST:
            self._arrived.append(event)
        else:
            self.left_out += 1

    def _footer(self) -> Text:
        connection, board = self.connection, self.board
        line = Text(f"{plain(connection.where)} ", style="dim")
        if connection.connected:
            line.append(f"{connection.protocol}")
        else:
            why = connection.trouble.what if connection.trouble else "connection lost"
            line.append(f"disconnected: {plain(why)}; trying again", style="bold red")
        line.append(f" · {board.messages} messages")
        if board.unreadable:
            line.append(f" · {board.unreadable} unreadable", style="yellow")
        if self.left_out:
            line.append(f" · {self.left_out} left out, they came too fast", style="yellow")
        return line


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


def _broker(arguments: argparse.Namespace) -> MqttConfig:
    keys = ("host", "port", "prefix", "username", "password_file", "ca_file", "tls")
    given = {key: value for key in keys if (value := getattr(arguments, key)) is not None}
    if arguments.config is not None:
        if given:
            options = ", ".join(f"--{key.replace('_', '-')}" for key in given)
            raise ConfigError([f"watch: --config says all about the broker; leave out {options}"])
        return load_config(arguments.config).mqtt
    if "ca_file" in given:
        given["tls"] = TlsConfig(ca_file=given.pop("ca_file"))
    try:
        return MqttConfig.model_validate({"host": "127.0.0.1"} | given)
    except ValidationError as error:
        raise ConfigError(
            [
                f"watch: --{str(problem['loc'][0]).replace('_', '-')}: {expected_of(problem)}"
                for problem in error.errors(include_url=False)
            ]
        ) from None


def _site(text: str) -> str:
    try:
        return TypeAdapter[str](TopicLevel).validate_python(text)
    except ValidationError as error:
        raise argparse.ArgumentTypeError(expected_of(error.errors()[0])) from None


def _show(watch: _Watch) -> int:
    console = Console()
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(Fitted(*watch.render(console.width)), refresh=True)
                time.sleep(_REDRAW_S)
        except KeyboardInterrupt:
            pass  # the usual way to end; the table is left on the screen below
    console.print(*watch.render(console.width), sep="\n")
    return 0


def _print_once(watch: _Watch) -> int:
    time.sleep(_RETAINED_S)
    console = Console()
    console.print(*watch.render(console.width), sep="\n")
    return 0


def _print_often(watch: _Watch) -> int:
    """Print the table every few seconds: for a log, where nothing can be drawn over."""
    while True:
        _print_once(watch)
        sys.stdout.flush()
        time.sleep(_REPRINT_S - _RETAINED_S)


def _print_lines(watch: _Watch) -> int:
    while True:
        for message in watch.arrived():
            print(_line(message))
        sys.stdout.flush()
        if watch.left_out:
            print(f"watch: {watch.left_out} messages left out, too fast", file=sys.stderr)
            watch.left_out = 0
        time.sleep(0.05)


def _line(message: Arrived) -> str:
    """Return one line of ASCII JSON: topic, retained, and payload or why it cannot be read."""
    line: dict[str, object] = {"topic": message.topic, "retained": message.retained}
    try:
        line["payload"] = json.loads(message.payload, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        line["unreadable"] = type(error).__name__
    return json.dumps(line)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
