"""What a world can be asked for, and the URI that asks for it."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl, urlsplit

from edge.errors import SourceError

from .splits import Locations, Split

if TYPE_CHECKING:
    from collections.abc import Callable

FORM = (
    "synthetic://shelf|aisle|mast[?seed=&width=&height=&fps=&aisles=07,08&style=train|held_out"
    "&locations=all|lab|unseen&cycle=&blind_after=&markers=0|1]"
)

_SIDES = 2
"""A camera that stands still shows two racks."""

E = TypeVar("E", bound=Enum)


class View(str, Enum):
    """Where the camera is: before a shelf, under the ceiling down an aisle, on a robot's mast."""

    SHELF = "shelf"
    AISLE = "aisle"
    MAST = "mast"


@dataclass(frozen=True, slots=True)
class WorldOptions:
    """One camera in one world. `fps` is the reader's: how often it takes a frame.

    `cycle_s` is about how long a shelf takes to empty and fill up; after `blind_after_s` seconds
    the picture goes dark and stays so. `markers` puts ArUco markers on the uprights.
    """

    view: View = View.SHELF
    seed: int = 0
    resolution_wh: tuple[int, int] = (1280, 720)
    fps: float = 30.0
    aisles: tuple[str, ...] = ("07", "08")
    style: Split = Split.TRAIN
    locations: Locations = Locations.ALL
    cycle_s: float = 60.0
    blind_after_s: float | None = None
    markers: bool = False

    def __post_init__(self) -> None:
        width, height = self.resolution_wh
        if not (160 <= width <= 4096 and 120 <= height <= 4096):  # noqa: PLR2004
            raise ValueError(
                f"WorldOptions.resolution_wh: expected 160x120 to 4096x4096, got {width}x{height}"
            )
        if self.view is not View.MAST and len(self.aisles) > _SIDES:
            raise ValueError(
                f"WorldOptions.aisles: expected 1 or {_SIDES} for {self.view.value}, "
                f"got {len(self.aisles)}"
            )
        if self.view is View.MAST and self.locations is not Locations.ALL:
            raise ValueError(
                f"WorldOptions.locations: a mast moves: expected all, got {self.locations.value}"
            )
        if not self.aisles or len(set(self.aisles)) != len(self.aisles):
            raise ValueError(f"WorldOptions.aisles: expected different names, got {self.aisles}")


def parse_world(uri: str) -> WorldOptions:
    """Understand a `synthetic://` URI; raises `SourceError` saying what is allowed."""
    parts = urlsplit(uri, allow_fragments=False)
    views = ", ".join(view.value for view in View)
    if parts.scheme != "synthetic" or parts.path not in {"", "/"}:
        raise _wrong(uri, f"expected synthetic:// and a view, one of {views}")
    chosen: dict[str, object] = {}
    try:
        chosen["view"] = _choice(View)(parts.netloc)
    except ValueError as error:
        raise _wrong(uri, f"view: {error}, found {parts.netloc!r}") from None
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _OPTIONS:
            raise _wrong(uri, f"unknown option {key!r}, known are {', '.join(_OPTIONS)}")
        field, convert = _OPTIONS[key]
        if field in chosen:
            raise _wrong(uri, f"option {key} is given twice")
        try:
            chosen[field] = convert(value)
        except ValueError as error:
            raise _wrong(uri, f"option {key}: {error}, found {value!r}") from None
    width, height = WorldOptions().resolution_wh
    chosen["resolution_wh"] = (chosen.pop("width", width), chosen.pop("height", height))
    try:
        return WorldOptions(**chosen)  # type: ignore[arg-type]
    except ValueError as error:
        raise _wrong(uri, str(error).removeprefix("WorldOptions.")) from None


def _wrong(uri: str, what: str) -> SourceError:
    return SourceError(f"source {uri}: {what}", f"write {FORM}")


def _choice(kind: type[E]) -> Callable[[str], E]:
    def convert(value: str) -> E:
        try:
            return kind(value)
        except ValueError:
            allowed = ", ".join(str(member.value) for member in kind)
            raise ValueError(f"expected one of {allowed}") from None

    return convert


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(value: str) -> int:
        if not re.fullmatch(r"\d{1,9}", value, re.ASCII) or not low <= int(value) <= high:
            raise ValueError(f"expected a whole number, {low} to {high}")
        return int(value)

    return convert


def _seconds(low: float, high: float) -> Callable[[str], float]:
    def convert(value: str) -> float:
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if not low <= number <= high:
            raise ValueError(f"expected a number, {low:g} to {high:g}")
        return number

    return convert


def _aisles(value: str) -> tuple[str, ...]:
    names = tuple(value.split(","))
    if not all(re.fullmatch(r"[A-Za-z0-9-]{1,8}", name, re.ASCII) for name in names):
        raise ValueError("expected names of up to 8 letters and digits, with commas between")
    return names


def _flag(value: str) -> bool:
    if value not in {"0", "1"}:
        raise ValueError("expected 0 or 1")
    return value == "1"


_OPTIONS: dict[str, tuple[str, Callable[[str], object]]] = {
    "seed": ("seed", _whole(0, 999_999_999)),
    "width": ("width", _whole(160, 4096)),
    "height": ("height", _whole(120, 4096)),
    "fps": ("fps", _seconds(0.1, 240)),
    "aisles": ("aisles", _aisles),
    "style": ("style", _choice(Split)),
    "locations": ("locations", _choice(Locations)),
    "cycle": ("cycle_s", _seconds(5, 86_400)),
    "blind_after": ("blind_after_s", _seconds(0, 86_400)),
    "markers": ("markers", _flag),
}
