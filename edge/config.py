"""The configuration: one YAML file, these keys, these defaults.

The key names are the public interface. `edge.config_file` reads the file and names every problem
with its line; here is only what a valid configuration is.
"""

from __future__ import annotations

import socket
from itertools import combinations
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    model_validator,
)

Point = Annotated[
    tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]],
    Field(description="x, y as fractions of the frame, from its top left corner"),
]
Score = Annotated[float, Field(ge=0, le=1)]

# Control characters and what is no character: a broker hangs up on who puts one into a topic.
_LEVEL = r"[^/+#$\s\x00-\x1f\x7f-\x9f\ufdd0-\ufdef\ufffe\uffff]+"
TopicLevel = Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=f"^{_LEVEL}$")]
"""A name that becomes one level of an MQTT topic."""

_NAME_OR_IPV4 = r"[^\s/@:\[\]\x00-\x1f\x7f]+"
_IPV6 = r"[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*(%[^\s/@:\[\]\x00-\x1f\x7f]+)?"
_SMALLEST_POLYGON = 3
_SMALLEST_AREA = 1e-6
_IN_ORDER = "list the corners in order around the zone"
_SECURE_MQTT = 8883
MOST_THREADS = 256
"""Of inference: more than any board has cores."""


def _host_name() -> str:
    return socket.gethostname()


def _one_that_can_be(path: Path) -> Path:
    if "\0" in str(path):
        raise ValueError("a path cannot have a NUL in it")
    return path


FilePath = Annotated[Path, AfterValidator(_one_that_can_be)]


def _distinct_corners(zone: tuple[Point, ...]) -> tuple[Point, ...]:
    if len(set(zone)) < _SMALLEST_POLYGON:
        raise ValueError(f"a zone needs at least 3 different corners, found {len(set(zone))}")
    sides = list(zip(zone, (*zone[1:], zone[0]), strict=True))
    if abs(sum(x * v - u * y for (x, y), (u, v) in sides)) < _SMALLEST_AREA:
        raise ValueError(f"the corners enclose no area; {_IN_ORDER}")
    for one, other in combinations(sides, 2):
        if _parts(one, other) and _parts(other, one):
            raise ValueError(f"the sides {_written(one)} and {_written(other)} cross; {_IN_ORDER}")
    return zone


def _parts(side: tuple[Point, Point], other: tuple[Point, Point]) -> bool:
    """Return whether the other side's ends lie to the left and to the right of this one."""
    (x, y), (u, v) = side
    left, right = sorted((u - x) * (b - y) - (v - y) * (a - x) for a, b in other)
    return left < -_SMALLEST_AREA and right > _SMALLEST_AREA


def _written(side: tuple[Point, Point]) -> str:
    return " to ".join(f"[{x:g}, {y:g}]" for x, y in side)


class ProblemAt(ValueError):  # noqa: N818 - reads as what happened
    """Something wrong with one key inside a section: `where` leads from the section to it."""

    def __init__(self, where: tuple[str | int, ...], what: str) -> None:
        super().__init__(what)
        self.where = where


def _branch(value: object) -> str:
    return "section" if isinstance(value, (dict, BaseModel)) else "value"


Zone = Annotated[tuple[Point, ...], AfterValidator(_distinct_corners)]

MarkerFamily = Literal[
    "aruco_4x4_50", "aruco_4x4_100", "aruco_4x4_250", "aruco_4x4_1000", "apriltag_36h11"
]
MARKERS: dict[MarkerFamily, int] = {
    "aruco_4x4_50": 50,
    "aruco_4x4_100": 100,
    "aruco_4x4_250": 250,
    "aruco_4x4_1000": 1000,
    "apriltag_36h11": 587,
}
"""How many markers a family has; their ids count from 0."""
_MISSING_MARKERS = "missing; the ids of the markers that hang in this aisle, such as markers: [17]"
_ONLY_HERE = "this camera does not look for markers; give it aisles_by: {markers: aruco_4x4_50}"

WHOLE_FRAME: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class AisleView(_Section):
    """One aisle as one camera sees it."""

    id: TopicLevel
    zone: Zone = WHOLE_FRAME
    labels: tuple[str, ...] | None = Field(default=None, min_length=1)
    """Only these labels count here; None: all of the bundle's."""
    threshold: (
        Annotated[
            Annotated[Score, Tag("value")] | Annotated[dict[str, Score], Tag("section")],
            Discriminator(_branch),
        ]
        | None
    ) = None
    """Lowest score that counts, one for all or one per label; None: the bundle's own."""
    anchor: Literal["bottom-center", "center"] = "bottom-center"
    """Which point of its box says where an object stands."""
    markers: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(default=None, min_length=1)
    """Ids of the markers that hang in this aisle; for a camera with `aisles_by: {markers: …}`."""


class AislesBy(_Section):
    """How a camera that drives from aisle to aisle knows which one it looks at."""

    markers: MarkerFamily | None = None
    """Printed markers, each in one aisle only: their family."""
    classifier: FilePath | None = None
    """Directory of a classifier trained on pictures of the aisles."""
    hold_s: Annotated[float, Field(gt=0, le=3600)] = 1.5
    """Seconds for which an aisle is believed after the last sign of it."""

    @model_validator(mode="after")
    def _one_way(self) -> AislesBy:
        if (self.markers is None) == (self.classifier is None):
            raise ValueError("expected either markers, their family, or classifier, its directory")
        return self


class CameraConfig(_Section):
    """One camera and the aisles it sees."""

    name: TopicLevel
    source: Annotated[str, StringConstraints(min_length=1)]
    fps: Annotated[float, Field(gt=0, le=240)] = 5.0
    """Frames per second looked at."""
    aisles: Annotated[tuple[AisleView, ...], Field(min_length=1)]
    aisles_by: AislesBy | None = None
    """None: the camera stands still, and always sees all of its aisles."""

    @model_validator(mode="after")
    def _one_zone_per_aisle(self) -> CameraConfig:
        ids = [view.id for view in self.aisles]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"an aisle has one zone per camera, found twice: {', '.join(twice)}")
        return self

    @model_validator(mode="after")
    def _markers_say_which_aisle(self) -> CameraConfig:
        family = self.aisles_by.markers if self.aisles_by else None
        taken: dict[int, str] = {}
        for i, view in enumerate(self.aisles):
            where = ("aisles", i, "markers")
            if (view.markers is None) != (family is None):
                raise ProblemAt(where, _ONLY_HERE if family is None else _MISSING_MARKERS)
            for number in view.markers or ():
                if family is not None and number >= MARKERS[family]:
                    last = MARKERS[family] - 1
                    raise ProblemAt(where, f"{family} has markers 0 to {last}, found {number}")
                if taken.setdefault(number, view.id) != view.id:
                    raise ProblemAt(where, f"marker {number} is already that of {taken[number]}")
        return self


class TlsConfig(_Section):
    """TLS to the broker; the system's certificate authorities unless `ca_file` is given."""

    ca_file: FilePath | None = None
    cert_file: FilePath | None = None
    key_file: FilePath | None = None

    @model_validator(mode="after")
    def _pair(self) -> TlsConfig:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs both cert_file and key_file")
        return self


class MqttConfig(_Section):
    """The broker."""

    host: Annotated[str, StringConstraints(pattern=f"^({_NAME_OR_IPV4}|{_IPV6})$")]
    """Name or address alone: no mqtt://, no user, no port."""
    port: Annotated[int, Field(ge=1, le=65535)] = 1883
    prefix: Annotated[str, Field(max_length=1024, pattern=f"^{_LEVEL}(/{_LEVEL})*$")] = "aisle-edge"
    username: Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]*$")] | None = None
    password_file: FilePath | None = None
    """File with the password; without it, the environment's AISLE_EDGE_MQTT_PASSWORD."""
    tls: (
        Annotated[
            Annotated[bool, Tag("value")] | Annotated[TlsConfig, Tag("section")],
            Discriminator(_branch),
        ]
        | None
    ) = None
    """None: on when the port is 8883."""
    commands: bool | None = None
    """Whether to carry out commands from the broker; None: where it has us prove who we are."""

    def tls_or_none(self) -> TlsConfig | None:
        """Return the TLS settings to use, or None for a plain connection."""
        if isinstance(self.tls, TlsConfig):
            return self.tls
        wanted = self.port == _SECURE_MQTT if self.tls is None else self.tls
        return TlsConfig() if wanted else None


class PublishConfig(_Section):
    """How often what is published."""

    detections_per_second: Annotated[float, Field(ge=0, le=240)] = 1.0
    """Per aisle and camera; 0: none."""
    state_heartbeat_s: Annotated[float, Field(gt=0)] = 30.0
    hysteresis_s: Annotated[float, Field(ge=0, le=3600)] = 2.0


class OutboxConfig(_Section):
    """Where messages wait until the broker has them."""

    path: FilePath = Path("/var/lib/aisle-edge/outbox.db")
    max_mb: Annotated[float, Field(ge=1, le=1e6)] = 256.0


class Config(_Section):
    """The whole file."""

    site: TopicLevel = "site"
    device: TopicLevel = Field(default_factory=_host_name, validate_default=True)
    bundle: FilePath
    runtime: Literal["auto", "tensorrt", "onnxruntime"] = "auto"
    threads: Annotated[int, Field(ge=1, le=MOST_THREADS)] | None = None
    """Inference threads of a CPU runtime; None: chosen for this machine."""
    cameras: Annotated[tuple[CameraConfig, ...], Field(min_length=1)]
    mqtt: MqttConfig
    publish: PublishConfig = PublishConfig()
    outbox: OutboxConfig = OutboxConfig()

    @model_validator(mode="after")
    def _camera_names_differ(self) -> Config:
        names = [camera.name for camera in self.cameras]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"cameras must have different names, found twice: {', '.join(twice)}")
        return self
