"""Why there is no connection to the broker, in words, and what to do about it."""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass

_CLOCK_VERDICTS = {9, 10}
"""OpenSSL's X509_V_ERR_CERT_NOT_YET_VALID and _HAS_EXPIRED: a device without a battery clock sees
them until its time is set, so they are no reason to give up."""
_MISMATCHES = {62, 64}
"""X509_V_ERR_HOSTNAME_MISMATCH and _IP_ADDRESS_MISMATCH."""
_ANOTHER_TIME = {128, 131, 136, 137, 151, 159}
"""MQTT reason codes: unspecified and implementation specific error, server unavailable, server
busy, quota exceeded, connection rate exceeded."""
_UNSUPPORTED_PROTOCOL = 132
_REMEDIES = {
    133: "give this device another site or device name",
    144: "correct mqtt.prefix, site or device",
    149: "raise the broker's maximum packet size",
    154: "have the broker keep retained messages (mosquitto: retain_available true)",
    155: "have the broker take QoS 1 (mosquitto: max_qos 1 or 2)",
    156: "correct mqtt.host",
    157: "correct mqtt.host",
}
"""MQTT reason code of a refusal that has nothing to do with who we are: what to do."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a connection did not come about.

    `refused`: nothing will change until a person changes something. `other_protocol`: an older
    MQTT version may be what the broker wants.
    """

    what: str
    hint: str
    refused: bool = False
    other_protocol: bool = False


UNANSWERED = Trouble(
    "it took the connection and did not answer",
    "is this its MQTT port, and is it well?",
    other_protocol=True,
)
_BY_KIND: tuple[tuple[type[BaseException], Trouble], ...] = (
    (
        socket.gaierror,
        Trouble("its name was not found", "correct mqtt.host, or this device's DNS"),
    ),
    (UnicodeError, Trouble("mqtt.host is no host name", "correct mqtt.host", refused=True)),
    (
        TimeoutError,
        Trouble("no answer in time", "check mqtt.host, mqtt.port, network and firewall"),
    ),
    (
        ConnectionRefusedError,
        Trouble("nothing listens there", "start the broker, or correct mqtt.host, mqtt.port"),
    ),
    (
        ConnectionResetError,
        Trouble("it broke the connection off", "is mqtt.port right, and does it speak TLS there?"),
    ),
)


def explain(error: BaseException) -> Trouble:
    """Say what an exception of a connection attempt means."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _explain_certificate(error)
    if isinstance(error, ssl.SSLError):
        return explain_tls(str(error.reason or error))
    for kind, trouble in _BY_KIND:
        if isinstance(error, kind):
            return trouble
    if isinstance(error, OSError):
        return Trouble(error.strerror or str(error), "check mqtt.host and the network")
    return Trouble(f"{type(error).__name__}: {error}", "is a broker at mqtt.host, mqtt.port?")


def _explain_certificate(error: ssl.SSLCertVerificationError) -> Trouble:
    what = f"its certificate is not accepted: {error.verify_message}"
    if error.verify_code in _CLOCK_VERDICTS:
        return Trouble(what, "set this device's clock, or renew the broker's certificate")
    if error.verify_code in _MISMATCHES:
        hint = "mqtt.host must be a name or an address in the broker's certificate"
        return Trouble(what, hint, refused=True)
    return Trouble(
        what, "mqtt.tls.ca_file must hold the authority that signed it (PEM)", refused=True
    )


def explain_tls(reason: str) -> Trouble:
    """Say what OpenSSL's reason, or a log line that holds one, means."""
    text = reason.upper().replace(" ", "_")
    if "ALERT" in text:
        return Trouble(
            f"it ended the TLS handshake: {reason}",
            "mqtt.tls.cert_file and key_file must be a client certificate that the broker trusts",
            refused=True,
        )
    if "WRONG_VERSION_NUMBER" in text or "RECORD_LAYER" in text:
        return Trouble("it speaks no TLS on this port", "correct mqtt.port, or set mqtt.tls: false")
    return Trouble(f"TLS: {reason}", "check mqtt.port and mqtt.tls")


def explain_connack(code: int, name: str) -> Trouble:
    """Say what a CONNACK's reason code (MQTT 5's numbers) means."""
    what = f"the broker refused the connection: {name} (MQTT reason {code})"
    if code == _UNSUPPORTED_PROTOCOL:
        return Trouble(what, "use a broker that speaks MQTT 5 or 3.1.1", other_protocol=True)
    if code in _ANOTHER_TIME:
        return Trouble(what, "look at the broker's log")
    credentials = "check mqtt.username, the password and the broker's access list"
    return Trouble(what, _REMEDIES.get(code, credentials), refused=True)


def explain_silence(log_line: str, *, tls: bool) -> Trouble:
    """Say what it means that the broker hung up before it answered; `log_line` is paho's last."""
    if tls and "SSL" in log_line.upper():
        return explain_tls(log_line.split("] ", 1)[-1].split(" (_ssl", maxsplit=1)[0])
    hint = "is this its MQTT port" + (
        ", and does it want a client certificate?" if tls else ", and one without TLS?"
    )
    return Trouble("it closed the connection unanswered", hint, other_protocol=True)
