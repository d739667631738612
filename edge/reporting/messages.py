"""The messages, exactly as they are on the wire: JSON objects, one model per schema.

Pure data: nothing here knows a clock, a topic or a broker. `deploy/schemas` is generated from it.
A later version may add fields, so a subscriber ignores those it does not know; a change of meaning
gets a new number in `schema`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(max_length=1024)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
Count = Annotated[int, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Time = Annotated[
    str,
    Field(
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$",
        json_schema_extra={"format": "date-time"},
        description="RFC 3339, UTC, milliseconds",
    ),
]
Uuid = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        json_schema_extra={"format": "uuid"},
        description="UUIDv7",
    ),
]
Point = tuple[Fraction, Fraction]
Reason = Literal["starting", "stalled", "dark", "blown_out", "frozen", "blurred", "covered"]
AisleReason = Literal[Reason, "out_of_view", "aisle_unknown"]
"""The last two: its camera moves, and looks elsewhere, or cannot tell which aisle it looks at."""


class Part(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True)


class Message(Part):
    """What every message says of itself."""

    schema_: str = Field(alias="schema")
    id: Uuid = Field(description="UUIDv7 of this message; the same id twice is the same message")
    boot: Uuid = Field(description="UUIDv7 of the sending process; changes with every start")
    time: Time = Field(description="When the message was made: RFC 3339, UTC, milliseconds")
    site: Name
    device: Name


class Numbered(Message):
    """A message of the device's one sequence: it arrives at least once, or a gap names its seq."""

    seq: int = Field(
        ge=1,
        description="Position in the device's one sequence of state, detections, camera and gap "
        "messages: contiguous over restarts, from the status message's first_seq on",
    )


class StatusMessage(Message):
    """Whether the device is there. Retained; at every connect, every minute, and by the Last Will.

    It is outside the sequence (no seq): it is about the connection, not about the aisles.
    """

    schema_: Literal["aisle-edge/status/1"] = Field(alias="schema")
    status: Literal["online", "offline"]
    reason: Literal["stopped", "connection_lost"] | None = Field(
        description="Why it is offline: stopped on purpose, or the broker lost it (Last Will; "
        "time is then the time of the connect). null while online"
    )
    version: Name = Field(description="Version of the software")
    bundle: Text | None = Field(description="Name and version of the model bundle in service")
    runtime: Text | None = Field(description="Inference runtime in service")
    note: Text = Field(description="Anything a person should know, else empty")
    started: Time = Field(description="When the process started, by the clock as set now")
    uptime_s: float = Field(ge=0, description="Seconds since then, however the clock was set")
    first_seq: Count | None = Field(
        description="Lowest seq of the present outbox. Every seq from here on arrives at least "
        "once or is named in a gap; lower ones belong to an outbox that is gone"
    )
    shed: Count = Field(description="Messages shed since the process started")


class CameraContribution(Part):
    """One camera's share in an aisle's state."""

    camera: Name
    visibility: Literal["seen", "unknown"]
    reason: AisleReason | None = Field(description="Why the camera cannot see; null when it does")
    counts: dict[str, Count] = Field(description="Objects per label; empty while unknown")


class LastSeen(Part):
    """What stood in an aisle when it was last seen."""

    until: Time = Field(description="When it ceased to be seen: RFC 3339, UTC, milliseconds")
    counts: dict[str, Count] = Field(description="Objects per label at that time")


class StateMessage(Numbered):
    """What stands in one aisle, settled. Retained; on every change, and as a heartbeat."""

    schema_: Literal["aisle-edge/state/1"] = Field(alias="schema")
    aisle: Name
    visibility: Literal["seen", "unknown"] = Field(
        description="unknown: no camera of the aisle can see, and counts says nothing"
    )
    reason: AisleReason | None = Field(description="Why it is unknown; null while seen")
    partial: bool = Field(description="Some, not all, of its cameras are blind: counts may be low")
    since: Time = Field(description="When this state began: RFC 3339, UTC, milliseconds")
    counts: dict[str, Count] = Field(
        description="Objects per label, the largest count of any camera that sees; a label that "
        "is absent counts 0. Empty while unknown"
    )
    confidence: dict[str, Fraction] = Field(description="Mean score per label over the hysteresis")
    cameras: tuple[CameraContribution, ...]
    last_seen: LastSeen | None = Field(
        description="While it is unknown: what stood there when it was last seen; null while it is "
        "seen, and when it was not seen since the start"
    )


class FrameInfo(Part):
    """The frame that was looked at."""

    number: Count = Field(description="Counts the camera's frames since it was opened")
    captured_at: Time = Field(description="When it was grabbed: RFC 3339, UTC, milliseconds")
    width: int = Field(ge=1, description="Pixels")
    height: int = Field(ge=1, description="Pixels")


class DetectedObject(Part):
    """One object."""

    label: Name
    score: Fraction
    xyxy: tuple[float, float, float, float] = Field(
        description="left, top, right, bottom in pixels of the frame, to 0.1 px"
    )
    xyxy_n: tuple[Fraction, Fraction, Fraction, Fraction] = Field(
        description="The same as fractions of the frame's width and height, clipped to the frame"
    )


class DetectionsMessage(Numbered):
    """The objects of one aisle in one frame of one camera; none: it was seen empty."""

    schema_: Literal["aisle-edge/detections/1"] = Field(alias="schema")
    camera: Name
    aisle: Name
    zone: tuple[Point, ...] = Field(
        description="The aisle's polygon in this camera: corners x, y as fractions of the frame"
    )
    frame: FrameInfo
    objects: tuple[DetectedObject, ...] = Field(description="Highest score first")


class CameraMessage(Numbered):
    """How one camera is doing. Retained."""

    schema_: Literal["aisle-edge/camera/1"] = Field(alias="schema")
    camera: Name
    state: Literal["streaming", "stalled", "blind"] = Field(
        description="stalled: no frames come; blind: frames come and show nothing"
    )
    reason: Reason | None = Field(description="Why it cannot see; null while streaming")
    fps: float = Field(ge=0, description="Frames looked at per second, over the last seconds")
    dropped: Count = Field(description="Frames that a newer one replaced before detection")
    reopened: Count = Field(description="Times the source had to be opened again")
    detail: Text = Field(description="The last error in one line, else empty")


class GapMessage(Numbered):
    """What was shed, because the outbox was full for longer than it could hold."""

    schema_: Literal["aisle-edge/gap/1"] = Field(alias="schema")
    count: int = Field(
        ge=1,
        description="Messages shed since the last gap message; more than the ranges hold when "
        "some were shed before they had a seq",
    )
    ranges: tuple[tuple[Count, Count], ...] = Field(
        description="The seqs that will not come: first and last of each run, both included"
    )


WIRE: dict[str, type[Message]] = {
    "status": StatusMessage,
    "state": StateMessage,
    "detections": DetectionsMessage,
    "camera": CameraMessage,
    "gap": GapMessage,
}
"""Every kind of message by the middle word of its schema, `aisle-edge/<kind>/1`."""


def json_schema(kind: str, message: type[Message] | None = None) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of one kind of message."""
    message = message or WIRE[kind]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:aisle-edge:{kind}:1",
        **message.model_json_schema(mode="serialization"),
    }
