"""The answers to commands, exactly as they are on the wire."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .messages import (
    Count,
    DetectedObject,
    Fraction,
    FrameInfo,
    Message,
    Name,
    Part,
    Reason,
    Text,
)


class SnapshotResult(Part):
    """A camera's picture."""

    camera: Name
    frame: FrameInfo
    reason: Reason | None = Field(description="Why this picture shows nothing; null when it does")
    objects: tuple[DetectedObject, ...] | None = Field(
        description="What was drawn, in pixels of the frame; null when no boxes were asked for or "
        "the picture shows nothing"
    )
    content_type: Literal["image/jpeg"]
    width: int = Field(ge=1, description="Pixels of the JPEG, which may be smaller than the frame")
    height: int = Field(ge=1)
    jpeg: str = Field(
        description="The picture in base64, at most 120,000 characters",
        json_schema_extra={"contentEncoding": "base64", "contentMediaType": "image/jpeg"},
    )


class EffectiveThreshold(Part):
    """What counts in one aisle as one camera sees it."""

    camera: Name
    aisle: Name
    thresholds: dict[str, Fraction] = Field(
        description="Lowest score that counts, per label; a label that is absent does not count"
    )


class ThresholdResult(Part):
    """What counts now."""

    effective: tuple[EffectiveThreshold, ...]
    until: Literal["the next reload or restart"]


class ReloadResult(Part):
    """The configuration is right; the status message says when it is in service."""

    state: Literal["reloading"]


class GoldenResult(Part):
    """What the running detector detected of what it should have."""

    runtime: Text
    frames: Count
    kept: Fraction
    unexpected: Fraction
    mean_iou: Fraction
    mean_score_shift: float = Field(ge=0)


class CameraResult(Part):
    """One camera."""

    camera: Name
    state: Literal["streaming", "stalled", "blind"]
    reason: Reason | None
    fps: float = Field(ge=0)
    detail: Text


class ReportingResult(Part):
    """Broker and outbox."""

    protocol: Text | None
    backlog: Count = Field(description="Messages that the broker does not have yet")
    shed: Count = Field(description="Messages shed since the process started")
    disk_trouble: Text | None


class SelfTestResult(Part):
    """A verdict, and what it rests on."""

    verdict: Literal["pass", "fail"]
    problems: tuple[Text, ...] = Field(description="One line each; empty when it passes")
    golden: GoldenResult | None = Field(description="null: it fails, and problems says how")
    cameras: tuple[CameraResult, ...]
    reporting: ReportingResult


class CommandReply(Message):
    """The answer to a command: on its response topic, with its correlation data; never retained.

    In MQTT 3.1.1, and where no response topic was given, on `commands/{name}/response`.
    """

    schema_: Literal["aisle-edge/command-reply/1"] = Field(alias="schema")
    command: Name
    request: str | None = Field(description="The request's id; null if it had none")
    ok: bool = Field(description="Whether the command was carried out")
    error: Text | None = Field(description="Why not, and what to do, in one line; null when ok")
    result: SnapshotResult | ThresholdResult | ReloadResult | SelfTestResult | None = Field(
        description="As the command has it; null unless ok"
    )
