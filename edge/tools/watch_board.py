"""What `edge watch` knows of every aisle, from messages that anybody may have sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.console import Group
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from edge.frame import Blindness
from edge.reporting.messages import (
    WIRE,
    CameraMessage,
    DetectionsMessage,
    GapMessage,
    Message,
    Numbered,
    StateMessage,
    StatusMessage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

_MOST_PLACES = 5000
"""Topics remembered; a site has tens."""
_LARGEST = 1_000_000
_WIDE = 100
_NARROW = 60
"""Columns; a table does not fit into fewer."""
_PLAIN_LENGTH = 60
Place = tuple[str, ...]
"""site, device, and then nothing, or `aisles`, aisle, or `cameras`, camera."""


def plain(text: str) -> str:
    """Return the text without anything that could steer a terminal, and not too long."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= _PLAIN_LENGTH else shown[: _PLAIN_LENGTH - 1] + "…"


def place_and_kind(topic: str, prefix: str) -> tuple[Place, str] | None:
    """Return where a topic below `prefix` belongs and the kind of message on it, if it is ours."""
    if not topic.startswith(f"{prefix}/"):
        return None
    match topic[len(prefix) + 1 :].split("/"):
        case [site, device, "status"]:
            return (site, device), "status"
        case [site, device, "gap"]:
            return (site, device), "gap"
        case [site, device, "aisles", aisle, ("state" | "detections") as kind]:
            return (site, device, "aisles", aisle), kind
        case [site, device, "cameras", camera, "status"]:
            return (site, device, "cameras", camera), "camera"
        case _:
            return None


@dataclass
class Board:
    """The newest message of each kind and place; what cannot be read is counted and left out."""

    prefix: str
    newest: dict[tuple[Place, str], Message] = field(default_factory=dict)
    shed: dict[Place, int] = field(default_factory=dict)
    messages: int = 0
    unreadable: int = 0

    def take(self, topic: str, payload: bytes) -> None:
        """Take in one message; whatever it holds, this does not raise."""
        self.messages += 1
        known = place_and_kind(topic, self.prefix)
        if known is None:
            return  # other things may live below the prefix
        if not payload:  # a retained message was cleared: this place is no more
            self.newest.pop(known, None)
            return
        try:
            message = WIRE[known[1]].model_validate_json(payload[:_LARGEST])
        except (ValidationError, ValueError, RecursionError):
            self.unreadable += 1
            return
        if len(self.newest) < _MOST_PLACES or known in self.newest:
            self._keep(known, message)

    def _keep(self, known: tuple[Place, str], message: Message) -> None:
        if isinstance(message, GapMessage):
            self.shed[known[0]] = self.shed.get(known[0], 0) + message.count
            return
        old = self.newest.get(known)
        late = (
            isinstance(old, Numbered)
            and isinstance(message, Numbered)
            and old.boot == message.boot
            and old.seq > message.seq
        )
        if not late:
            self.newest[known] = message

    def online(self, place: Place) -> bool:
        """Return whether the device of a place is there; one that never said so counts as there."""
        status = self.newest.get((place[:2], "status"))
        return not isinstance(status, StatusMessage) or status.status == "online"

    def render(self, width: int, now: datetime) -> RenderableType:
        """Return the table of aisles, the devices and their cameras, for a terminal this wide."""
        return Group(self._aisles(width, now), *self._devices(now))

    def _aisles(self, width: int, now: datetime) -> RenderableType:
        places = self._places("aisles")
        if not places:
            return Text("No aisle has been heard of yet.", style="dim")
        if width < _NARROW:
            return Group(*(Text(" ").join(self._aisle(place, now)[:4]) for place in places))
        table = Table(expand=True, header_style="bold", border_style="dim")
        table.add_column("Device", overflow="fold", max_width=24)
        table.add_column("Aisle", overflow="fold", max_width=12)
        table.add_column("Sees", overflow="fold", min_width=8)
        table.add_column("Objects (confidence)", overflow="fold", ratio=1)
        table.add_column("Since", justify="right", no_wrap=True)
        table.add_column("Age", justify="right", no_wrap=True)
        if width >= _WIDE:
            table.add_column("Last detections", overflow="fold", ratio=1)
        for place in places:
            row = self._aisle(place, now)
            table.add_row(*(row if width >= _WIDE else row[:-1]))
        return table

    def _aisle(self, place: Place, now: datetime) -> list[Text]:
        state = self.newest.get((place, "state"))
        seen = self.newest.get((place, "detections"))
        cells = [Text(f"{plain(place[0])}/{plain(place[1])}"), Text(plain(place[3]), style="bold")]
        if isinstance(state, StateMessage):
            cells += [
                _visibility(state, online=self.online(place)),
                _objects(state) if self.online(place) else Text("?", style="dim"),
                Text(ago(state.since, now)),
                Text(ago(state.time, now)),
            ]
        else:
            cells += [Text("not said yet", style="dim"), Text(), Text(), Text()]
        cells.append(_last_detections(seen, now))
        return cells

    def _devices(self, now: datetime) -> Iterator[RenderableType]:
        for site, device in sorted({place[:2] for place, _ in self.newest}):
            status = self.newest.get(((site, device), "status"))
            line = Text.assemble((f"{plain(site)}/{plain(device)} ", "bold"))
            if isinstance(status, StatusMessage):
                _describe_device(line, status, now)
            if count := self.shed.get((site, device)):
                line.append(f" · {count} messages shed", style="yellow")
            for place in self._places("cameras") if self.online((site, device)) else ():
                camera = self.newest.get((place, "camera"))
                if place[:2] == (site, device) and isinstance(camera, CameraMessage):
                    line.append_text(_camera(place[3], camera))
            yield line

    def _places(self, what: str) -> list[Place]:
        return sorted({place for place, _ in self.newest if place[2:3] == (what,)})


@dataclass(frozen=True)
class Fitted:
    """The board, cut to the terminal's height and saying so, above a footer that always shows."""

    board: RenderableType
    footer: Text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield as many lines as the terminal has."""
        endless = options.update(height=None)
        lines = console.render_lines(self.board, endless)
        footer = console.render_lines(self.footer, endless)
        room = max(1, console.height - len(footer))
        if len(lines) > room:
            more = f"… {len(lines) - room + 1} more lines: a higher window, or edge watch --once"
            note = Text(more, style="yellow", no_wrap=True, overflow="ellipsis")
            lines[room - 1 :] = console.render_lines(note, endless)
        for line in lines + footer:
            yield from line
            yield Segment.line()


def ago(moment: str, now: datetime) -> str:
    """Return how long ago an RFC 3339 time was, in at most five characters."""
    try:
        then = datetime.fromisoformat(moment.replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return "?"
    seconds = max(0, int((now - then).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _visibility(state: StateMessage, *, online: bool) -> Text:
    if not online:
        return Text("unknown: device offline", style="bold red")
    if state.visibility == "unknown":
        reason = (state.reason or "").replace("_", " ")
        # A robot that has driven on is no fault.
        normal = state.reason == Blindness.OUT_OF_VIEW.value
        return Text(f"unknown: {reason}", style="dim" if normal else "bold red")
    if state.partial:
        return Text("seen, partial", style="yellow")
    return Text("seen", style="green")


def _objects(state: StateMessage) -> Text:
    if state.visibility == "unknown":
        counts = state.last_seen.counts if state.last_seen else {}
        last = ", ".join(f"{n} {plain(label)}" for label, n in sorted(counts.items()) if n)
        return Text(f"? (last seen: {last})" if last else "?", style="dim")
    parts = []
    for label, count in sorted(state.counts.items()):
        if count:
            score = state.confidence.get(label)
            sure = f" ({score:.2f})" if score is not None else ""
            parts.append(f"{count} {plain(label)}{sure}")
    return Text("\n".join(parts) or "empty")


def _last_detections(seen: Message | None, now: datetime) -> Text:
    if not isinstance(seen, DetectionsMessage):
        return Text("none", style="dim")
    return Text(f"{len(seen.objects)} by {plain(seen.camera)}, {ago(seen.frame.captured_at, now)}")


def _describe_device(line: Text, status: StatusMessage, now: datetime) -> None:
    if status.status == "online":
        line.append("online", style="green")
        line.append(f" for {ago(status.started, now)}")
    else:
        line.append(f"offline: {(status.reason or '').replace('_', ' ')}", style="bold red")
    for text in (status.bundle, status.runtime, status.note):
        if text:
            line.append(f" · {plain(text)}", style="dim")


def _camera(name: str, camera: CameraMessage) -> Text:
    style = "green" if camera.state == "streaming" else "bold red"
    why = "" if camera.reason in (None, camera.state) else f": {camera.reason}"
    line = Text(f"\n  camera {plain(name)} ")
    line.append(f"{camera.state}{why}", style=style)
    line.append(f" {camera.fps:.1f}/s", style="dim")
    if camera.detail:
        line.append(f" {plain(camera.detail)}", style="dim")
    return line
