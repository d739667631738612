"""What proves to the broker who we are: read anew for every connection, never logged."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

from edge.errors import StartError

if TYPE_CHECKING:
    from pathlib import Path

    from edge.config import MqttConfig, TlsConfig

_LONGEST_PASSWORD = 65535
"""Bytes; MQTT's own limit."""
USERNAME_VARIABLE = "AISLE_EDGE_MQTT_USERNAME"
PASSWORD_VARIABLE = "AISLE_EDGE_MQTT_PASSWORD"  # noqa: S105 - the variable's name


def user_and_password(broker: MqttConfig) -> tuple[str | None, str | None]:
    """Return the user name and password: the configuration's, else the environment's, else None.

    Raises `StartError` when the password file cannot be read or there is no name to a password.
    """
    user = broker.username or os.environ.get(USERNAME_VARIABLE)
    if broker.password_file is not None:
        password: str | None = _read_password(broker.password_file)
    else:
        password = os.environ.get(PASSWORD_VARIABLE)
    if password is not None and not user:
        raise StartError("mqtt: a password but no user name", "set mqtt.username")
    return user, password


def commands_allowed(broker: MqttConfig) -> bool:
    """Return whether commands from this broker are carried out: what is configured, else a guess.

    A broker that lets us in unproven lets strangers in, too. One that does not can also say who may
    write to a device's commands: its access list has to.
    """
    if broker.commands is not None:
        return broker.commands
    tls = broker.tls_or_none()
    proven = broker.username or os.environ.get(USERNAME_VARIABLE) or (tls and tls.cert_file)
    return bool(proven)


def tls_context(tls: TlsConfig) -> ssl.SSLContext:
    """Return the TLS settings of one connection: host name and certificate are always checked.

    Raises `StartError` naming the file that is missing or holds no certificate or key.
    """
    try:
        context = ssl.create_default_context(cafile=tls.ca_file)
    except (OSError, ValueError) as error:
        raise _unusable("mqtt.tls.ca_file", tls.ca_file, error) from None
    if tls.cert_file is not None:
        try:
            # A password is given so that OpenSSL does not ask for one on the terminal.
            context.load_cert_chain(tls.cert_file, tls.key_file, password="")
        except (OSError, ValueError) as error:
            key = f"mqtt.tls.cert_file {tls.cert_file}, key_file"
            raise _unusable(key, tls.key_file, error) from None
    return context


def _read_password(path: Path) -> str:
    try:
        if path.is_fifo():  # nobody may ever write into it
            raise StartError(f"mqtt.password_file {path}: is a pipe", "give a file")
        with path.open("rb") as file:
            raw = file.read(_LONGEST_PASSWORD + 1)
        text = raw.decode("utf-8-sig").rstrip("\r\n")
    except OSError as error:
        hint = "the file must exist and be readable by the service's user"
        raise StartError(f"mqtt.password_file {path}: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise StartError(f"mqtt.password_file {path}: not UTF-8", "write it as UTF-8") from None
    if len(raw) > _LONGEST_PASSWORD or "\n" in text or "\r" in text:
        what = f"mqtt.password_file {path}: expected the password alone, on one line, found more"
        raise StartError(what, "write nothing else into it")
    return text


def _unusable(key: str, path: Path | None, error: Exception) -> StartError:
    if isinstance(error, ssl.SSLError):
        what = f"expected PEM, and an unencrypted key that fits ({error.reason or 'unreadable'})"
    else:
        what = getattr(error, "strerror", None) or str(error)
    return StartError(f"{key} {path}: {what}", "give files that the service's user can read")
