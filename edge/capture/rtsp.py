"""Whether an RTSP camera answers, and why it cannot be opened: OpenCV does not say, so ask it."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edge.errors import CaptureError

if TYPE_CHECKING:
    from edge.capture.source import Source

_TIMEOUT_S = 2.5
"""For the connection, and for the answer."""
_STATUS_BYTES = 64
_NO_RTSP = 0
_DEFAULT_PORT = 554
_STATUS_LINE = re.compile(rb"RTSP/\d\.\d (\d{3})")


def require_answer(source: Source) -> None:
    """Raise `CaptureError` unless the camera answers, whatever it says; within 5 seconds.

    Credentials are not sent, and are in no error.
    """
    if _ask(source, "OPTIONS") == _NO_RTSP:  # DESCRIBE would have it prepare a stream
        raise _explained(source, _NO_RTSP)


def why_not(source: Source) -> CaptureError:
    """Return what is wrong with a camera that OpenCV could not open; within 5 seconds.

    Credentials are not sent, and are in no error.
    """
    try:
        return _explained(source, _ask(source, "DESCRIBE"))
    except CaptureError as error:
        return error


def _explained(source: Source, status: int) -> CaptureError:
    what, hint = _meaning(status, given=urlsplit(source.target).username is not None)
    return CaptureError(f"{source}: {what}", hint)


def _ask(source: Source, method: str) -> int:
    """Return the status the camera answers with (RFC 2326, 10), `_NO_RTSP` if it is none."""
    parts = urlsplit(source.target)
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
    bare = f"rtsp://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.query:
        bare += f"?{parts.query}"
    try:
        return _status(host, port, f"{method} {bare}")
    except socket.gaierror:
        raise CaptureError(
            f"{source}: no host is named {host}", "check the name, or write the address"
        ) from None
    except ConnectionRefusedError:
        raise CaptureError(
            f"{source}: {host} refuses connections on port {port}",
            "check the port, and that RTSP is switched on in the camera's settings",
        ) from None
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or "unreachable"
        raise CaptureError(
            f"{source}: {host} port {port}: {reason}",
            "check the camera's power, its cable and its address",
        ) from None


def _status(host: str, port: int, question: str) -> int:
    """Ask once, and return the status; no answer in time is a `TimeoutError`."""
    request = f"{question} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
        connection.sendall(request.encode("ascii", "replace"))
        until_s, answer = time.monotonic() + _TIMEOUT_S, b""
        while len(answer) < _STATUS_BYTES and b"\n" not in answer:
            connection.settimeout(max(0.001, until_s - time.monotonic()))
            piece = connection.recv(_STATUS_BYTES)
            if not piece:
                break
            answer += piece
        line = _STATUS_LINE.match(answer)
    return int(line[1]) if line else _NO_RTSP


def _meaning(status: int, *, given: bool) -> tuple[str, str]:
    if status in {401, 403} and given:
        return "refuses this user name or password", "check them in the camera's own web page"
    if status in {401, 403}:
        return "wants a user name and a password", "write rtsp://USER:PASSWORD@HOST/PATH"
    if status in {400, 404, 454, 455}:
        return (
            f"has no stream at this path (RTSP status {status})",
            "look the path up in the camera's manual or web page",
        )
    if status == _NO_RTSP:
        return "answers, but not with RTSP", "check the port"
    return (
        f"answers with RTSP status {status}, but its stream cannot be opened",
        "check its codec (H.264 or H.265) and how many viewers it allows",
    )
