"""People and carts: bodies made of capsules, lit by their surface, as sprites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge.frame import Image

    from .camera_optics import Points
    from .styles import Bgr

_FINE = 2
_FLOOR_SHADOW, _SHADOW_M = 0.5, 0.34
_NO_BAND = (2.0, 2.0)


@dataclass(frozen=True)
class Capsule:
    """A round-ended rod: two ends in metres (right, forward, up), radius, paint.

    Between the parts `band` of its length it has the colour `band_colour`.
    """

    ends: tuple[tuple[float, float, float], tuple[float, float, float]]
    radius: float
    colour: Bgr
    band: tuple[float, float] = _NO_BAND
    band_colour: Bgr = (0, 0, 0)


@dataclass(frozen=True)
class Outfit:
    """What a person wears: colours BGR."""

    vest: Bgr
    stripe: Bgr
    trousers: Bgr
    skin: Bgr
    head: Bgr


OUTFITS = (
    Outfit((20, 210, 235), (225, 230, 230), (70, 45, 30), (150, 180, 215), (25, 25, 30)),
    Outfit((25, 110, 245), (220, 235, 235), (50, 50, 50), (90, 130, 175), (235, 235, 235)),
    Outfit((150, 60, 40), (150, 60, 40), (60, 60, 70), (165, 195, 228), (45, 75, 120)),
    Outfit((60, 180, 90), (225, 235, 235), (40, 40, 45), (70, 100, 140), (20, 190, 240)),
    Outfit((50, 50, 190), (215, 215, 220), (90, 60, 45), (60, 85, 120), (20, 20, 25)),
    Outfit((95, 95, 95), (95, 95, 95), (35, 30, 30), (145, 175, 210), (60, 150, 240)),
    Outfit((205, 205, 200), (205, 205, 200), (110, 85, 60), (120, 155, 195), (35, 55, 85)),
    Outfit((110, 50, 90), (215, 220, 225), (80, 75, 60), (100, 140, 185), (200, 200, 205)),
)

CARTS: tuple[tuple[Bgr, Bgr], ...] = (
    ((170, 175, 178), (60, 60, 200)),
    ((150, 120, 60), (40, 40, 40)),
    ((60, 150, 230), (50, 50, 55)),
    ((90, 140, 70), (30, 160, 240)),
)
"""Tubes and handle."""


def person(outfit: Outfit, stride: float, *, pushing: bool) -> list[Capsule]:
    """Return a person 1.78 m tall, walking forward; `stride` is the part of a double step."""
    phase = 2 * np.pi * stride
    swing = float(np.sin(phase))
    bounce = -0.07 * swing**2
    parts = [
        Capsule(((-0.07, 0, 0.98 + bounce), (0.07, 0, 0.98 + bounce)), 0.125, outfit.trousers),
    ]
    for x in (-0.08, -0.04, 0.0, 0.04, 0.08):
        torso = ((x, 0.0, 1.08 + bounce), (x * 1.2, 0.0, 1.36 + bounce))
        parts.append(Capsule(torso, 0.125, outfit.vest, (0.12, 0.32), outfit.stripe))
    parts.append(Capsule(((-0.15, 0, 1.42 + bounce), (0.15, 0, 1.42 + bounce)), 0.07, outfit.vest))
    parts += _leg(-0.10, phase, bounce, outfit) + _leg(0.10, phase + np.pi, bounce, outfit)
    parts += _arm(-0.235, -swing, bounce, outfit, pushing=pushing)
    parts += _arm(0.235, swing, bounce, outfit, pushing=pushing)
    parts += [
        Capsule(((0, 0.0, 1.46 + bounce), (0, 0.01, 1.54 + bounce)), 0.058, outfit.skin),
        Capsule(((0, 0.02, 1.60 + bounce), (0, 0.015, 1.66 + bounce)), 0.095, outfit.skin),
        Capsule(((0, -0.015, 1.655 + bounce), (0, -0.005, 1.68 + bounce)), 0.106, outfit.head),
    ]
    return parts


def _leg(x: float, phase: float, bounce: float, outfit: Outfit) -> list[Capsule]:
    # The knee bends while the leg comes forward.
    thigh, bend = 0.42 * float(np.sin(phase)), 0.08 + 0.70 * max(0.0, float(np.cos(phase)))
    hip = (x, 0.0, 0.94 + bounce)
    knee = (x, 0.44 * np.sin(thigh), hip[2] - 0.44 * np.cos(thigh))
    shin = thigh - bend
    ankle = (x, knee[1] + 0.42 * np.sin(shin), max(0.07, knee[2] - 0.42 * np.cos(shin)))
    toe = (x, ankle[1] + 0.16, max(0.045, ankle[2] - 0.03))
    return [
        Capsule((hip, knee), 0.082, outfit.trousers),
        Capsule((knee, ankle), 0.062, outfit.trousers),
        Capsule((ankle, toe), 0.05, (32, 30, 34)),
    ]


def _arm(x: float, swing: float, bounce: float, outfit: Outfit, *, pushing: bool) -> list[Capsule]:
    angle, bend = (0.55, 0.75) if pushing else (0.45 * swing, 0.35)
    shoulder = (x * 0.9, 0.0, 1.40 + bounce)
    elbow = (x, 0.29 * np.sin(angle), shoulder[2] - 0.29 * np.cos(angle))
    fore = angle + bend
    hand = (x * 0.95, elbow[1] + 0.26 * np.sin(fore), elbow[2] - 0.26 * np.cos(fore))
    return [
        Capsule((shoulder, elbow), 0.058, outfit.vest),
        Capsule((elbow, hand), 0.045, outfit.skin),
    ]


def cart(colours: tuple[Bgr, Bgr]) -> list[Capsule]:
    """Return a picking cart of tubes: three wire decks, a frame, a handle, four wheels."""
    tube, handle = colours
    x, front, back = 0.27, 0.42, -0.42
    corners = [(-x, back), (x, back), (x, front), (-x, front)]
    parts = [
        Capsule(((a, b, 0.12), (a, b, 1.05 if b < 0 else 0.95)), 0.02, tube) for a, b in corners
    ]
    for deck in (0.20, 0.55, 0.92):
        parts += [
            Capsule(((-x, y, deck), (x, y, deck)), 0.013, tube)
            for y in np.linspace(back, front, 12).tolist()
        ]
        for side in (-x, x):
            parts.append(Capsule(((side, back, deck), (side, front, deck)), 0.02, tube))
            parts.append(
                Capsule(((side, back, deck + 0.13), (side, front, deck + 0.13)), 0.011, tube)
            )
    parts.append(Capsule(((-x, back - 0.10, 1.05), (x, back - 0.10, 1.05)), 0.024, handle))
    parts += [Capsule(((a, b, 0.06), (a * 1.08, b, 0.06)), 0.06, (30, 30, 30)) for a, b in corners]
    return parts


@dataclass(frozen=True)
class Sprite:
    """A figure seen from afar: uint8 colour (H, W, 3), cover and keep (H, W), both of 255.

    `colour` is already weighted by `cover`; `keep` is what stays of the background, shadow
    included. `corner` is where its top left lies, pixels right of and below the point 1 m above
    where the figure stands.
    """

    colour: Image
    cover: Image
    keep: Image
    corner: tuple[int, int]
    pixels_per_m: float


def draw_figure(
    parts: list[Capsule], turn: float, rise: float, pixels_per_m: float, bright: Points
) -> Sprite:
    """Draw a figure as seen from afar.

    `turn` is the angle (radians) from where the figure faces to where the viewer is, to its left;
    `rise` how far above the figure's horizon the viewer is; `bright` (3,) the light's BGR factors.
    """
    import cv2

    view = _view(turn, rise)
    ends = [(np.array(part.ends) - np.array([0.0, 0.0, 1.0])) @ view.T for part in parts]
    left, top, right, bottom = _extent(parts, ends, rise, pixels_per_m)
    columns, rows = right - left, bottom - top
    colour = np.zeros((rows * _FINE, columns * _FINE, 3), np.float32)
    near = np.full(colour.shape[:2], -np.inf, np.float32)
    fine = pixels_per_m * _FINE
    shift = np.array([left, top, 0.0]) * _FINE
    for part, where in zip(parts, ends, strict=True):
        _draw_capsule(part, where * fine - shift, fine, (colour, near))
    np.clip(colour * np.asarray(bright, np.float32), 0, 255, out=colour)
    size, kind = (columns, rows), cv2.INTER_AREA
    cover = np.where(np.isfinite(near), 255, 0).astype(np.uint8)
    cover = np.asarray(cv2.resize(cover, size, interpolation=kind), np.uint8)
    small = np.asarray(cv2.resize(colour.astype(np.uint8), size, interpolation=kind), np.uint8)
    x = np.asarray((np.arange(left, right) + 0.5) / pixels_per_m, np.float64)
    y = np.asarray((np.arange(top, bottom) + 0.5) / pixels_per_m, np.float64)
    keep = np.round((255.0 - cover) * _unshadowed(x, y, rise)).astype(np.uint8)
    return Sprite(small, cover, keep, (left, top), pixels_per_m)


def _extent(
    parts: list[Capsule], ends: list[Points], rise: float, pixels_per_m: float
) -> tuple[int, int, int, int]:
    """Return the box of a figure and its shadow, pixels from the point 1 m above its place."""
    foot = float(np.cos(rise))
    shadow = 1.5 * _SHADOW_M
    low = np.min([end[:, :2].min(axis=0) - p.radius for end, p in zip(ends, parts, strict=True)], 0)
    high = np.max(
        [end[:, :2].max(axis=0) + p.radius for end, p in zip(ends, parts, strict=True)], 0
    )
    low = np.minimum(low, (-shadow, foot - shadow * _flat(rise))) * pixels_per_m
    high = np.maximum(high, (shadow, foot + shadow * _flat(rise))) * pixels_per_m
    left, top = np.floor(low).astype(int) - 1
    right, bottom = np.ceil(high).astype(int) + 1
    return int(left), int(top), int(right), int(bottom)


def _view(turn: float, rise: float) -> npt.NDArray[np.float64]:
    """Return the rows right, down and toward the viewer, in the figure's axes."""
    level = np.array([-np.sin(turn), np.cos(turn), 0.0])
    toward = level * np.cos(rise) + np.array([0.0, 0.0, np.sin(rise)])
    right = np.cross(np.array([0.0, 0.0, 1.0]), level)
    return np.stack([right, -np.cross(toward, right), toward])


def _draw_capsule(
    part: Capsule,
    ends: Points,
    fine: float,
    target: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]],
) -> None:
    """Draw a capsule whose ends (2, 3) are in pixels right, down and toward the viewer."""
    colour, near = target
    flat = ends[:, :2]
    radius = part.radius * fine
    low = np.maximum(np.floor(flat.min(axis=0) - radius).astype(int), 0)
    high = np.minimum(np.ceil(flat.max(axis=0) + radius).astype(int) + 1, near.shape[::-1])
    x = np.arange(low[0], high[0], dtype=np.float32)[None] - np.float32(flat[0, 0])
    y = np.arange(low[1], high[1], dtype=np.float32)[:, None] - np.float32(flat[0, 1])
    step = (flat[1] - flat[0]).astype(np.float32)
    along = np.clip((x * step[0] + y * step[1]) / max(float(step @ step), 1e-6), 0, 1)
    off_x, off_y = x - along * step[0], y - along * step[1]
    rest = np.float32(radius**2) - off_x * off_x - off_y * off_y
    bulge = np.sqrt(np.maximum(rest, 0))
    depth = np.float32(ends[0, 2]) + along * np.float32(ends[1, 2] - ends[0, 2]) + bulge
    there = np.s_[low[1] : high[1], low[0] : high[0]]
    shown = (rest > 0) & (depth > near[there])
    light = 0.50 + (0.42 * bulge - 0.38 * off_y - 0.08 * off_x) / np.float32(radius)
    banded = (along >= part.band[0]) & (along <= part.band[1])
    plain, band = np.array([part.colour, part.band_colour], np.float32)
    paint = np.where(banded[..., None], band, plain) * light[..., None]
    np.copyto(near[there], depth, where=shown)
    np.copyto(colour[there], paint, where=shown[..., None])


def _flat(rise: float) -> float:
    """Return how much a circle on the floor is flattened for a viewer so far above."""
    return max(0.12, float(np.sin(rise)))


def _unshadowed(x: Points, y: Points, rise: float) -> Points:
    """Return what stays (0..1) of the floor at columns x and rows y, metres."""
    across = x[None] / _SHADOW_M
    along = (y[:, None] - np.cos(rise)) / (_SHADOW_M * _flat(rise))
    share: Points = 1 - _FLOOR_SHADOW * np.exp(-2.0 * (across**2 + along**2))
    return share
