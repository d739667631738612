"""What a camera's `source` may be: a URI, understood once, before anything is opened."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from edge.capture.shelf_world.options import parse_world
from edge.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

FORMS = (
    "v4l2:///dev/video0[?width=&height=&fps=]",
    "csi://0[?width=&height=&fps=]",
    "rtsp://[user:password@]host[:port]/path",
    "gst://PIPELINE",
    "file:///path/clip.mp4[?loop=1&realtime=1]",
    "images:///path/folder[?loop=1&fps=]",
    "synthetic://shelf|aisle|mast[?seed=&width=&height=&fps=&aisles=07,08&blind_after=]",
)
"""Every form a source can have."""

_VIDEO_SUFFIXES = (".mp4", ".mkv", ".avi", ".mov", ".webm", ".ts", ".h264", ".h265")
_MAX_FPS = 240
_MAX_SIDE_PX = 16384


class Kind(str, Enum):
    """What is behind a source; the value is its URI scheme."""

    V4L2 = "v4l2"
    CSI = "csi"
    RTSP = "rtsp"
    GST = "gst"
    FILE = "file"
    IMAGES = "images"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True)
class Source:
    """A source URI, understood. `str()` and `repr()` never show credentials.

    `target` is what there is to open: a device, file or folder path, the number of a CSI sensor,
    an RTSP URL (credentials included) or a GStreamer pipeline. `width` and `height` are in pixels,
    `fps` in frames per second; None leaves the choice to the device.
    """

    kind: Kind
    target: str = field(repr=False)
    uri: str
    """The URI as written, credentials blotted out: for logs and messages."""
    loop: bool = False
    realtime: bool = False
    width: int | None = None
    height: int | None = None
    fps: float | None = None

    def __post_init__(self) -> None:
        if not self.target:
            raise ValueError(f"Source.target: expected something to open, got '' from {self.uri}")

    def __str__(self) -> str:
        return self.uri

    @property
    def live(self) -> bool:
        """Whether its pictures pass by unless they are looked at: then the newest one counts."""
        return self.realtime or self.kind not in {Kind.FILE, Kind.IMAGES}

    @property
    def recorded(self) -> bool:
        """Whether it lies on disk: then it is there at start or never, and it has an end."""
        return self.kind in {Kind.FILE, Kind.IMAGES}


def redact(text: str) -> str:
    """Return a text in which the credentials of any URL or pipeline are blotted out."""
    text = re.sub(r"://\S*@", "://***@", text)
    return re.sub(
        r"(?i)(\b|_)(pass\w*?|pwd|user(?:-?(?:pw|id|name))?|token|key|auth)=[^\s&_]+",
        r"\1\2=***",
        text,
    )


def _shown(text: str) -> str:
    """Return a source as it may be shown: no credentials, one line."""
    if not text.lower().startswith("gst:"):  # in a pipeline a space ends the URL
        text = re.sub(r"://.*@", "://***@", text, flags=re.DOTALL)
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", "?", redact(text))


def parse_source(text: str) -> Source:
    """Understand a source URI; raises `SourceError` saying what is allowed instead."""
    scheme, colon, rest = text.partition(":")
    scheme = scheme.lower()
    if not colon or scheme not in _PARSERS:
        raise SourceError(f"source {_shown(text)}: {_unknown(text)}", _allowed())
    if not rest.startswith("//"):
        raise _wrong(text, f"expected {scheme}:// and what follows it")
    return _PARSERS[Kind(scheme)](text, f"{scheme}:{rest}")


def _allowed() -> str:
    return "allowed are " + ", ".join(FORMS)


def _wrong(text: str, what: str) -> SourceError:
    scheme = text.partition(":")[0].lower()
    form = next(form for form in FORMS if form.startswith(scheme + ":"))
    return SourceError(f"source {_shown(text)}: {what}", f"write {form}")


def _unknown(text: str) -> str:
    shown = _shown(text)
    if "://" in text:
        return f"{shown.partition(':')[0]}:// is not a kind of source"
    if text.isdecimal():
        return f"a number is not a URI, write v4l2:///dev/video{text} or csi://{text}"
    if text.startswith("/dev/"):
        return f"a path is not a URI, write v4l2://{shown}"
    path = shown if shown.startswith("/") else f"/path/to/{shown}"
    if text.lower().endswith(_VIDEO_SUFFIXES):
        return f"a path is not a URI, write file://{path}"
    return f"a path is not a URI, write file://{path} for a video, images://{path} for a folder"


def _split(text: str, uri: str) -> SplitResult:
    try:
        parts = urlsplit(uri, allow_fragments=False)
        parts.port  # noqa: B018 - it is checked when it is read
    except ValueError:
        # Not chained: its text may hold a piece of the password.
        raise _wrong(
            text, "the host or port is wrong (percent-encode special characters of a password)"
        ) from None
    return parts


def _parse_path(text: str, uri: str) -> Source:
    """Parse v4l2, file and images: an absolute path, percent-decoded, and options."""
    parts = _split(text, uri)
    kind = Kind(parts.scheme)
    if parts.netloc not in {"", "localhost"}:
        raise _wrong(text, f"expected an absolute path after {kind.value}://, found a host")
    path = unquote(parts.path)
    if path.strip("/") == "" or "\0" in path:
        raise _wrong(text, "expected an absolute path, found none")
    options = _options(text, parts, _OPTIONS[kind])
    return Source(kind, path, _shown(text), **options)  # type: ignore[arg-type]


def _parse_csi(text: str, uri: str) -> Source:
    parts = _split(text, uri)
    if not re.fullmatch(r"\d{1,2}", parts.netloc, re.ASCII) or parts.path not in {"", "/"}:
        raise _wrong(text, "expected the sensor's number")
    options = _options(text, parts, _OPTIONS[Kind.CSI])
    return Source(Kind.CSI, parts.netloc, _shown(text), **options)  # type: ignore[arg-type]


def _parse_rtsp(text: str, uri: str) -> Source:
    if not _split(text, uri).hostname or re.search(r"[\s\x00-\x1f]", uri):
        raise _wrong(text, "expected a host and a path without spaces")
    return Source(Kind.RTSP, uri, _shown(text))


def _parse_gst(text: str, uri: str) -> Source:
    """Take the pipeline as it stands: `%` and `?` are GStreamer's here."""
    pipeline = uri.partition("://")[2].strip()
    if not pipeline:
        raise _wrong(text, "expected a pipeline, found none")
    return Source(Kind.GST, pipeline, _shown(text))


def _parse_synthetic(text: str, uri: str) -> Source:
    """Take the world's own options as they stand; it plays at its own pace, as a camera does."""
    if "@" in uri:
        raise _wrong(text, "a synthetic camera has no user and no password")
    return Source(Kind.SYNTHETIC, uri, _shown(text), realtime=True, fps=parse_world(uri).fps)


def _flag(value: str) -> bool:
    if value not in {"0", "1"}:
        raise ValueError("expected 0 or 1")
    return value == "1"


def _side(value: str) -> int:
    if not re.fullmatch(r"\d{1,5}", value, re.ASCII) or not 1 <= int(value) <= _MAX_SIDE_PX:
        raise ValueError(f"expected pixels, 1 to {_MAX_SIDE_PX}")
    return int(value)


def _rate(value: str) -> float:
    try:
        rate = float(value)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= _MAX_FPS:
        raise ValueError(f"expected frames per second, above 0 and up to {_MAX_FPS}")
    return rate


def _options(
    text: str, parts: SplitResult, known: Mapping[str, Callable[[str], object]]
) -> dict[str, object]:
    options: dict[str, object] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in known:
            raise _wrong(text, f"unknown option {key!r}, known are {', '.join(known)}")
        if key in options:
            raise _wrong(text, f"option {key} is given twice")
        try:
            options[key] = known[key](value)
        except ValueError as error:
            raise _wrong(text, f"option {key}: {error}, found {value!r}") from None
    return options


_DEVICE = {"width": _side, "height": _side, "fps": _rate}
_OPTIONS: dict[Kind, Mapping[str, Callable[[str], object]]] = {
    Kind.V4L2: _DEVICE,
    Kind.CSI: _DEVICE,
    Kind.FILE: {"loop": _flag, "realtime": _flag},
    Kind.IMAGES: {"loop": _flag, "fps": _rate},
}
_PARSERS: dict[str, Callable[[str, str], Source]] = {
    Kind.V4L2: _parse_path,
    Kind.FILE: _parse_path,
    Kind.IMAGES: _parse_path,
    Kind.CSI: _parse_csi,
    Kind.RTSP: _parse_rtsp,
    Kind.GST: _parse_gst,
    Kind.SYNTHETIC: _parse_synthetic,
}
