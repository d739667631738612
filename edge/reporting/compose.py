"""From what the aisles and cameras know to messages on topics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic_core import to_json
from uuid6 import uuid7

from edge import __version__
from edge.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edge.aisles.observation import AisleObservation, AisleState
    from edge.capture.status import CameraStatus
    from edge.detections import Detections
    from edge.frame import Blindness

    from .topics import Topics

Kind = Literal["state", "detections", "camera", "gap"]


def utc_now() -> datetime:
    """Return the wall clock, in UTC."""
    return datetime.now(timezone.utc)


def rfc3339(moment: datetime) -> str:
    """Return an aware time as RFC 3339 in UTC with milliseconds, `2026-01-31T12:00:00.000Z`."""
    if moment.tzinfo is None:
        raise ValueError("rfc3339: expected an aware datetime, got a naive one")
    return moment.astimezone(timezone.utc).isoformat(timespec="milliseconds")[:-6] + "Z"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way to the outbox, which gives it its seq."""

    kind: Kind
    topic: str
    retain: bool
    body: dict[str, Any]
    """As `edge.reporting.messages` describes it, without `seq`."""

    def payload(self, seq: int) -> bytes:
        """Return the JSON that goes out, at this position of the sequence."""
        return to_json(self.body | {"seq": seq}, inf_nan_mode="null")


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a command, on its way past the outbox."""

    topic: str
    payload: bytes
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Asked:
    """Who wants to know what, and where the answer goes."""

    command: str
    topic: str
    request: str | None = None
    """The request's id."""
    correlation: bytes | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """What the status message says of the software: changes only with a reload."""

    bundle: str | None = None
    """Name and version."""
    runtime: str | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Composer:
    """Makes every message of one device in one process.

    Dictionaries, not the models of `messages`: with 30 objects that is twice as fast, and the
    tests hold every one of them to its schema.

    `labels` are the bundle's; a detection's label is an index into them. `boot` is the same for
    every composer of a process, reloads included.
    """

    topics: Topics
    labels: Sequence[str]
    boot: str = field(default_factory=lambda: str(uuid7()))
    began_s: float = field(default_factory=time.monotonic)
    """Monotonic time at which the process began: the clock of a board may be set years on later."""
    now: Callable[[], datetime] = utc_now

    def state(self, state: AisleState) -> Outgoing:
        """Return the message of an aisle's settled state."""
        body = {
            "aisle": state.aisle,
            **_visibility(state.unknown),
            "partial": state.partial,
            "since": rfc3339(state.since),
            "counts": {} if state.unknown else state.counts,
            "confidence": {k: round(v, 3) for k, v in state.confidence.items()},
            "cameras": [
                {"camera": view.camera, **_visibility(view.blindness), "counts": view.counts}
                for view in state.cameras
            ],
            "last_seen": state.last_seen
            and {
                "until": rfc3339(state.last_seen.until),
                "counts": state.last_seen.counts,
            },
        }
        topic = self.topics.state(state.aisle)
        return Outgoing("state", topic, retain=True, body=self._header("state") | body)

    def detections(self, seen: AisleObservation) -> Outgoing:
        """Return the message of one aisle's objects in one frame."""
        width, height = seen.stamp.resolution_wh
        body = {
            "camera": seen.stamp.camera,
            "aisle": seen.aisle,
            "zone": seen.zone,
            "frame": {
                "number": seen.stamp.number,
                "captured_at": rfc3339(seen.stamp.captured_at),
                "width": width,
                "height": height,
            },
            "objects": _objects(seen.detections, self.labels, seen.stamp.resolution_wh),
        }
        topic = self.topics.detections(seen.aisle)
        return Outgoing("detections", topic, retain=False, body=self._header("detections") | body)

    def camera(self, status: CameraStatus) -> Outgoing:
        """Return the message of a camera's health."""
        body = {
            "camera": status.camera,
            "state": status.state,
            "reason": status.blindness.value if status.blindness else None,
            "fps": round(status.fps, 2),
            "dropped": status.dropped,
            "reopened": status.reopened,
            "detail": status.detail[:1024],
        }
        topic = self.topics.camera(status.camera)
        return Outgoing("camera", topic, retain=True, body=self._header("camera") | body)

    def gap(self, count: int, ranges: Sequence[tuple[int, int]]) -> Outgoing:
        """Return the message that owns up to `count` shed messages and the seqs they had."""
        body = {"count": count, "ranges": ranges}
        return Outgoing("gap", self.topics.gap, retain=False, body=self._header("gap") | body)

    def status(
        self,
        service: Service,
        *,
        offline: Literal["stopped", "connection_lost"] | None = None,
        first_seq: int | None = None,
        shed: int = 0,
    ) -> bytes:
        """Return the payload of the status message: online unless `offline` says why not."""
        uptime = timedelta(seconds=time.monotonic() - self.began_s)
        body = {
            "status": "offline" if offline else "online",
            "reason": offline,
            "version": __version__,
            "bundle": service.bundle,
            "runtime": service.runtime,
            "note": service.note[:1024],
            "started": rfc3339(self.now() - uptime),
            "uptime_s": round(uptime.total_seconds(), 1),
            "first_seq": first_seq,
            "shed": shed,
        }
        return to_json(self._header("status") | body)

    def reply(self, asked: Asked, answer: dict[str, Any] | EdgeError) -> Reply:
        """Return the answer to a command: its result, or why there is none."""
        refused = isinstance(answer, EdgeError)
        body = {
            "command": asked.command,
            "request": asked.request,
            "ok": not refused,
            "error": " | ".join(str(answer).splitlines())[:1024] if refused else None,
            "result": None if refused else answer,
        }
        payload = to_json(self._header("command-reply") | body)
        return Reply(asked.topic, payload, asked.correlation)

    def objects(self, found: Detections, resolution_wh: tuple[int, int]) -> list[dict[str, Any]]:
        """Return what was found in a frame of that size, pixels, as messages have it."""
        return _objects(found, self.labels, resolution_wh)

    def _header(self, kind: str) -> dict[str, Any]:
        return {
            "schema": f"aisle-edge/{kind}/1",
            "id": str(uuid7()),
            "boot": self.boot,
            "time": rfc3339(self.now()),
            "site": self.topics.site,
            "device": self.topics.device,
        }


def _visibility(blindness: Blindness | None) -> dict[str, str | None]:
    if blindness is None:
        return {"visibility": "seen", "reason": None}
    return {"visibility": "unknown", "reason": blindness.value}


def _objects(
    found: Detections, labels: Sequence[str], resolution_wh: tuple[int, int]
) -> list[dict[str, Any]]:
    xyxy = found.xyxy.astype(np.float64)
    fractions = np.clip(xyxy / np.array(resolution_wh * 2), 0, 1).round(5).tolist()
    return [
        {"label": labels[label], "score": score, "xyxy": pixels, "xyxy_n": fraction}
        for label, score, pixels, fraction in zip(
            found.labels.tolist(),
            found.scores.astype(np.float64).round(4).tolist(),
            xyxy.round(1).tolist(),
            fractions,
            strict=True,
        )
    ]
