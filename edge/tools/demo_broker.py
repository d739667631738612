"""The broker of `edge demo`: mosquitto where there is one, else amqtt, which is pure Python.

For looking only. amqtt knows no MQTT 5 and keeps nothing for absent subscribers.
"""

from __future__ import annotations

import asyncio
import importlib.util
import shutil
import signal
import socket
import sys
from typing import TYPE_CHECKING

from edge.errors import PIP, MissingPackage, StartError

if TYPE_CHECKING:
    from pathlib import Path

HOST = "127.0.0.1"

_MOSQUITTO = """\
listener {port} {host}
allow_anonymous true
persistence false
user root
"""
"""`user` only counts when root starts it: changing it would undo the kernel's promise to end it."""


def broker_command(port: int, folder: Path) -> tuple[str, list[str]]:
    """Return the name and command of a broker that listens on `port` of this machine alone.

    Raises `MissingPackage` where there is neither.
    """
    if program := shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin"):
        config = folder / "mosquitto.conf"
        config.write_text(_MOSQUITTO.format(port=port, host=HOST))
        return "mosquitto", [program, "-c", str(config)]
    if importlib.util.find_spec("amqtt"):
        return "amqtt", [sys.executable, "-m", __name__, str(port)]
    raise MissingPackage(
        "no MQTT broker here, neither mosquitto nor amqtt",
        f"apt install mosquitto, or {PIP} install 'aisle-edge[demo]'",
    )


def free_port(wanted: int | None) -> int:
    """Return `wanted` if nobody listens there, or a free port if none is; else `StartError`."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise StartError(
                f"port {wanted} of {HOST}: {error.strerror}",
                "give another --port, or none to have a free one taken",
            ) from error
        return int(probe.getsockname()[1])


async def _serve(port: int) -> None:
    from amqtt.broker import Broker

    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {
                "amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}
            },
        }
    )
    await broker.start()
    await ended.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1])))
