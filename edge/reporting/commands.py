"""What a device can be asked over MQTT: one model per command, and whether a request is one.

Pure data, as `messages`: nothing here carries anything out. `deploy/schemas` is generated from it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from edge.config_problems import nearest, printable
from edge.errors import EdgeError

from .messages import Fraction, Name

if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST = 4096
"""Bytes of a request; none needs a tenth of it."""
_PROBLEMS_MOST = 4

RequestId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=128,
        description="Chosen by who asks, new for every request: it is in the answer, and the same "
        "one again within five minutes is answered again, not carried out again",
    ),
]


class CommandError(EdgeError):
    """A command that is not carried out; its one line goes to who asked."""


class Request(BaseModel):
    """What every request may say of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    id: RequestId | None = None


class SnapshotRequest(Request):
    """Ask for a camera's next picture, as a JPEG."""

    schema_: Literal["aisle-edge/command-snapshot/1"] | None = Field(default=None, alias="schema")
    camera: Name | None = Field(
        default=None, description="Which one; may be left out where there is only one"
    )
    boxes: bool = Field(
        default=False, description="Detect in this picture, and draw what counts in an aisle"
    )


class ThresholdRequest(Request):
    """Change the score from which objects count, until the next reload or restart."""

    schema_: Literal["aisle-edge/command-threshold/1"] | None = Field(default=None, alias="schema")
    aisle: Name | None = Field(default=None, description="Only there; left out: in every aisle")
    label: Name | None = Field(default=None, description="Only this; left out: every label")
    threshold: Fraction | None = Field(
        default=None,
        description="Lowest score that counts; null: the configured one again; left out: nothing "
        "is changed, the answer says what counts now",
    )


class ReloadRequest(Request):
    """Read the configuration file again; a wrong one is refused and the old one stays."""

    schema_: Literal["aisle-edge/command-reload/1"] | None = Field(default=None, alias="schema")


class SelfTestRequest(Request):
    """Hold the running detector to the bundle's golden; look at cameras, broker and outbox."""

    schema_: Literal["aisle-edge/command-self-test/1"] | None = Field(default=None, alias="schema")


REQUESTS: dict[str, type[Request]] = {
    "snapshot": SnapshotRequest,
    "threshold": ThresholdRequest,
    "reload": ReloadRequest,
    "self-test": SelfTestRequest,
}
"""Every command by its name, the last level of its topic."""


def read_request(name: str, payload: bytes) -> Request:
    """Return the request that came on `commands/{name}`; an empty payload asks for the defaults.

    Raises `CommandError` saying in one line what is wrong and what is allowed.
    """
    model = REQUESTS.get(name)
    if model is None:
        known = ", ".join(REQUESTS)
        raise CommandError(f"unknown command '{printable(name)}'", f"known: {known}")
    if len(payload) > LARGEST:
        raise CommandError(f"the request has {len(payload)} bytes, at most {LARGEST} are read")
    try:
        return model.model_validate_json(payload or b"{}", strict=True)
    except ValidationError as error:
        problems = list(_problems(error, model))
        more = [f"and {len(problems) - _PROBLEMS_MOST} more"] * (len(problems) > _PROBLEMS_MOST)
        raise CommandError("; ".join(problems[:_PROBLEMS_MOST] + more)) from None


def id_of(payload: bytes) -> str | None:
    """Return the id of a request, however wrong the rest of it is; None if it has no usable one."""
    try:
        found = from_json(payload) if len(payload) <= LARGEST else None
    except ValueError:
        return None
    try:
        return Request.model_validate({"id": found["id"]}).id if isinstance(found, dict) else None
    except (KeyError, ValidationError):
        return None


def _problems(error: ValidationError, model: type[Request]) -> Iterator[str]:
    keys = tuple(field.alias or name for name, field in model.model_fields.items())
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        key = printable(str(detail["loc"][0])) if detail["loc"] else ""
        if detail["type"] == "json_invalid":
            yield f"no JSON: {_one_line(detail['msg'].removeprefix('Invalid JSON: '))}"
        elif detail["type"] == "model_type":
            yield f"expected a JSON object with any of {', '.join(keys)}"
        elif detail["type"] == "extra_forbidden":
            near = nearest(key, keys)
            meant = f"did you mean {near}? " if near else ""
            yield f"unknown key '{key}'; {meant}allowed: {', '.join(keys)}"
        else:
            said: str = detail["msg"].replace("Input should be", "expected")
            yield f"{key}: {_one_line(said)}"


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def request_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the requests of one command."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:aisle-edge:command-{name}:1",
        **REQUESTS[name].model_json_schema(mode="validation"),
    }
