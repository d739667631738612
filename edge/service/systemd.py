"""What systemd wants to hear from a `Type=notify` service; silent where there is no systemd."""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(*states: str) -> None:
    """Send states such as `READY=1` or `WATCHDOG=1` to the service manager, if there is one.

    Protocol: sd_notify(3), one datagram of newline-separated assignments to $NOTIFY_SOCKET.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # a socket in the abstract namespace
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
            line.settimeout(1.0)
            line.sendto("\n".join(states).encode(), address)
    except OSError as error:
        log.warning("systemd was not told %s: %s", states[0], error)


def watchdog_interval_s() -> float | None:
    """Return how often to send `WATCHDOG=1`, half the time-out asked for; None: not wanted."""
    wanted = os.environ.get("WATCHDOG_USEC", "")
    for_us = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(wanted) / 2e6 if wanted.isdigit() and for_us else None
