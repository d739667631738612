"""Why an RTSP camera cannot be opened: OpenCV does not say, so ask the camera."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from edge.capture.source import Source

_TIMEOUT_S = 2.0
_DEFAULT_PORT = 554
_STATUS_LINE = re.compile(rb"RTSP/\d\.\d (\d{3})")


def why_not(source: Source) -> tuple[str, str]:
    """Return what is wrong and what to do: asks the camera, within a few seconds.

    Credentials are not sent, and are in neither answer.
    """
    parts = urlsplit(source.target)
    host, port = parts.hostname or "", parts.port or _DEFAULT_PORT
    bare = f"rtsp://{parts.netloc.rpartition('@')[2]}{parts.path}"
    if parts.query:
        bare += f"?{parts.query}"
    try:
        status = _describe(host, port, bare)
    except socket.gaierror:
        return f"{source}: no host is named {host}", "check the name, or write the address"
    except ConnectionRefusedError:
        return (
            f"{source}: {host} refuses connections on port {port}",
            "check the port, and that RTSP is switched on in the camera's settings",
        )
    except OSError as error:
        reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or "unreachable"
        return (
            f"{source}: {host} port {port}: {reason}",
            "check the camera's power, its cable and its address",
        )
    what, hint = _meaning(status, given=parts.username is not None)
    return f"{source}: {what}", hint


def _describe(host: str, port: int, url: str) -> int:
    """Return the status the camera answers a DESCRIBE with (RFC 2326, 10.2), 0 if it is none."""
    request = f"DESCRIBE {url} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
    with socket.create_connection((host, port), timeout=_TIMEOUT_S) as connection:
        connection.settimeout(_TIMEOUT_S)
        connection.sendall(request.encode("ascii", "replace"))
        line = _STATUS_LINE.match(connection.recv(64))
    return int(line[1]) if line else 0


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
    if status == 0:
        return "answers, but not with RTSP", "check the port"
    return (
        f"answers with RTSP status {status}, but its stream cannot be opened",
        "check its codec (H.264 or H.265) and how many viewers it allows",
    )
