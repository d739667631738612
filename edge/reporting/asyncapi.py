"""The documents a subscriber builds against, generated from the message types."""

from __future__ import annotations

import json
from typing import Any

from .commands import REQUESTS, request_schema
from .messages import WIRE, json_schema
from .replies import CommandReply

CHANNELS = {
    "status": ("status", True, "Whether the device is there. Also its Last Will."),
    "state": ("aisles/{aisle}/state", True, "What stands in an aisle, settled."),
    "detections": ("aisles/{aisle}/detections", False, "One aisle's objects in one frame."),
    "camera": ("cameras/{camera}/status", True, "How a camera is doing."),
    "gap": ("gap", False, "What had to be shed, if anything ever was."),
}
"""Kind: (topic below the device's own, retained, what it is)."""

REPLY = "command-reply"
_COMMANDS = {f"command-{name}": name for name in REQUESTS}
_BASE = "{prefix}/{site}/{device}"
_PARAMETERS = {
    "prefix": "mqtt.prefix of the configuration; aisle-edge unless set",
    "site": "site of the configuration",
    "device": "device of the configuration; the host's name unless set",
    "aisle": "id of an aisle",
    "camera": "name of a camera",
}
_ABOUT = """\
Every message but status carries seq, the device's one sequence. A subscriber that wants everything:

1. Subscribe with QoS 1 and a persistent session, and raise the broker's queue limits.
2. Drop a message whose id it has seen: at least once is what is promised.
3. Expect every seq from status.first_seq on, over restarts of the device too. What is missing and
   not named in a gap message is still to come; messages are sent again in order.
4. Treat visibility unknown as not known, never as empty; so too every aisle of a device whose
   status is offline, or missing: the broker still retains what it last knew. After a power or
   network cut the broker takes about 30 s to say offline.
5. An empty payload clears a retained topic: that aisle, camera or device is no longer configured.

On one topic, of two states the one with the higher seq is the newer. A new outbox begins at the
clock's milliseconds, above the old one. The sequence is the outbox's: a device whose site or name
was changed goes on with the numbers that it had under the old one.
"""


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document of everything a device publishes, and can be asked."""
    kinds = [*CHANNELS, *_COMMANDS, REPLY]
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Aisle Edge", "version": "1", "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": {kind: _channel(kind) for kind in CHANNELS}
        | {kind: _command_channel(kind) for kind in _COMMANDS}
        | {REPLY: _reply_channel()},
        "operations": {f"publish-{kind}": _operation(kind) for kind in CHANNELS}
        | {f"carry-out-{kind}": _command_operation(kind) for kind in _COMMANDS},
        "components": {"messages": {kind: _message(kind) for kind in kinds}},
    }


def documents() -> dict[str, str]:
    """Return what `deploy/schemas` holds: the text of each file by its name."""
    files: dict[str, dict[str, Any]] = {f"{kind}.json": json_schema(kind) for kind in WIRE}
    files |= {f"{kind}.json": request_schema(name) for kind, name in _COMMANDS.items()}
    files[f"{REPLY}.json"] = json_schema(REPLY, CommandReply)
    files["asyncapi.json"] = asyncapi()
    return {name: json.dumps(value, indent=2) + "\n" for name, value in files.items()}


def _channel(kind: str) -> dict[str, Any]:
    below, _, about = CHANNELS[kind]
    return _at(f"{_BASE}/{below}", about, kind)


def _command_channel(kind: str) -> dict[str, Any]:
    name = _COMMANDS[kind]
    return _at(f"{_BASE}/commands/{name}", (REQUESTS[name].__doc__ or "").strip(), kind)


def _reply_channel() -> dict[str, Any]:
    return {
        "address": None,
        "description": "The request's response topic (MQTT 5); without one, and in MQTT 3.1.1, "
        f"{_BASE}/commands/{{command}}/response",
        "messages": {REPLY: {"$ref": f"#/components/messages/{REPLY}"}},
    }


def _at(address: str, about: str, kind: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": about,
        "parameters": {
            name: {"description": text}
            for name, text in _PARAMETERS.items()
            if f"{{{name}}}" in address
        },
        "messages": {kind: {"$ref": f"#/components/messages/{kind}"}},
    }


def _operation(kind: str) -> dict[str, Any]:
    return {
        "action": "send",
        "channel": {"$ref": f"#/channels/{kind}"},
        "bindings": {"mqtt": {"qos": 1, "retain": CHANNELS[kind][1]}},
    }


def _command_operation(kind: str) -> dict[str, Any]:
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{kind}"},
        "bindings": {"mqtt": {"qos": 1, "retain": False}},
        "reply": {"channel": {"$ref": f"#/channels/{REPLY}"}},
    }


def _message(kind: str) -> dict[str, Any]:
    return {
        "name": kind,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{kind}.json"},
        },
    }
