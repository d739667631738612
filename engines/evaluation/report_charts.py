"""Numbers to the points of a small line chart: all that its SVG needs, in its own units."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edge.detector.agreement import agreement, match
from edge.detector.golden import THRESHOLD_SLACK
from engines.evaluation.accuracy import THRESHOLD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edge.detections import Detections
    from engines.evaluation.report_layers import Layer

    Pairs = Sequence[tuple[Detections, Detections]]
    """(float, INT8) of each frame."""
    Curve = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 360, 210
"""As wide as a phone, so that its text is readable there."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 342, 10, 172
_THRESHOLDS = tuple(round(0.1 + 0.05 * step, 2) for step in range(17))
_WIDEST_SHIFT = 0.15
_BIN = 0.02
_FEWEST = 10
"""Detections below which a share says nothing."""
_LEAST_NOISE = 1e-5


@dataclass(frozen=True, slots=True)
class Series:
    """One line; `points` as SVG has them, `style` the name of its colour."""

    name: str
    style: str
    points: str
    area: bool = False
    """Filled instead of drawn."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A line chart of `WIDTH` x `HEIGHT` units."""

    title: str
    reading: str
    """How to read it, in one line."""
    x_label: str
    y_label: str
    series: tuple[Series, ...]
    x_ticks: tuple[tuple[float, str], ...]
    """(place, text) along the lower edge."""
    y_ticks: tuple[tuple[float, str], ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = _RIGHT
    top: int = _TOP
    bottom: int = _BOTTOM


@dataclass(frozen=True, slots=True)
class Axis:
    """Where values between `low` and `high` go, and which are written there."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    warp: Callable[[float], float] = float

    def at(self, value: float, start: float, end: float) -> float:
        """Return the place between `start` and `end`, clipped to it."""
        low, high = self.warp(self.low), self.warp(self.high)
        share = (self.warp(value) - low) / ((high - low) or 1.0)
        return round(start + (end - start) * min(1.0, max(0.0, share)), 1)


def chart(
    title: str, reading: str, x: Axis, y: Axis, curves: Sequence[tuple[str, str, Curve, bool]]
) -> Chart:
    """Return the chart of curves: (name, style, values, filled) each."""
    series = tuple(
        Series(
            name,
            style,
            " ".join(f"{x.at(a, _LEFT, _RIGHT)},{y.at(b, _BOTTOM, _TOP)}" for a, b in curve),
            area,
        )
        for name, style, curve, area in curves
    )
    return Chart(
        title,
        reading,
        x.label,
        y.label,
        series,
        tuple((x.at(value, _LEFT, _RIGHT), text) for value, text in x.ticks),
        tuple((y.at(value, _BOTTOM, _TOP), text) for value, text in y.ticks),
    )


def _percents(low: float, label: str) -> Axis:
    """Return an axis of shares from `low`, rounded down to what can be labelled, to 1."""
    bottom = math.floor(min(low, 0.9) * 10) / 10
    step = 0.05 if bottom >= 0.8 else 0.1 if bottom >= 0.5 else 0.25  # noqa: PLR2004
    values = np.arange(1.0, bottom - 1e-9, -step)
    return Axis(label, bottom, 1.0, tuple((float(v), f"{v:.0%}") for v in values))


def agreement_charts(parts: Sequence[tuple[str, str, Pairs]]) -> list[Chart]:
    """Return how much is kept, and how much is not made up, over the score threshold.

    `parts`: (name, style, detections of each frame) of each INT8 graph.
    """
    ticks = tuple((t / 10, f"{t / 10:g}") for t in range(1, 10, 2))
    x = Axis("score threshold", _THRESHOLDS[0], _THRESHOLDS[-1], ticks)
    charts = []
    for title, reading, kept in (
        (
            "Kept",
            (
                "Share of the float model's detections above a threshold that INT8 has too, its "
                f"score at most {THRESHOLD_SLACK:g} below it; a line at the top is a perfect one."
            ),
            _kept,
        ),
        (
            "Not made up",
            (
                "Share of INT8's detections above a threshold that the float model has too; a line "
                "at the top says that INT8 sees nothing that is not there."
            ),
            lambda pairs: _kept([(found, reference) for reference, found in pairs]),
        ),
    ):
        curves = [(name, style, kept(pairs), False) for name, style, pairs in parts]
        lowest = min((share for _, _, curve, _ in curves for _, share in curve), default=0.0)
        charts.append(chart(title, reading, x, _percents(lowest, "share"), curves))
    return charts


def _kept(pairs: Pairs) -> Curve:
    """Return (threshold, share of the first that the second has), where there are enough."""
    seen = []
    for threshold in _THRESHOLDS:
        first = [(a.where(a.scores >= threshold), b) for a, b in pairs]
        agreed = agreement(first, threshold - THRESHOLD_SLACK)
        if agreed.reference >= _FEWEST:
            seen.append((threshold, agreed.recall))
    return seen


def precision_recall_chart(
    curves: Sequence[tuple[str, str, npt.NDArray[np.float64]]],
) -> Chart:
    """Return precision over recall at IoU 0.5; each curve float64 (101,), recall 0 to 1."""
    ticks = tuple((t / 4, f"{t / 4:.0%}") for t in range(5))
    return chart(
        "Precision and recall",
        "From left to right more of the annotated objects are found; the higher the line stays, "
        "the fewer wrong ones come with them. INT8 should lie on float.",
        Axis("recall", 0, 1, ticks),
        Axis("precision, mean over labels, IoU 0.5", 0, 1, ticks),
        [
            (name, style, [(i / (len(curve) - 1), float(p)) for i, p in enumerate(curve)], False)
            for name, style, curve in curves
        ],
    )


def shift_chart(parts: Sequence[tuple[str, str, Pairs]]) -> Chart:
    """Return how far scores moved: a histogram over the pairs that match."""
    bins = np.arange(-_WIDEST_SHIFT - _BIN / 2, _WIDEST_SHIFT + _BIN, _BIN)
    curves = []
    for name, style, pairs in parts:
        moved = np.clip(score_shifts(pairs), bins[0], bins[-1])
        counts, _ = np.histogram(moved, bins)
        share = counts / max(1, counts.sum())
        steps = [(float(bins[0]), 0.0)]
        for index, value in enumerate(share.tolist()):
            steps += [(float(bins[index]), value), (float(bins[index + 1]), value)]
        curves.append((name, style, [*steps, (float(bins[-1]), 0.0)], False))
    top = max((value for _, _, curve, _ in curves for _, value in curve), default=1.0)
    highest = math.ceil(max(top, 0.05) * 10) / 10
    return chart(
        "How far scores moved",
        "INT8's score minus float's, of detections that both have. Narrow and around 0 is good; "
        "what lies left was weakened. The outermost steps hold all that moved further.",
        Axis(
            "score INT8 - float",
            float(bins[0]),
            float(bins[-1]),
            tuple((v, f"{v:+.1f}" if v else "0") for v in (-0.1, 0.0, 0.1)),
        ),
        Axis(
            "share",
            0,
            highest,
            tuple((highest * t / 4, f"{highest * t / 4:.0%}") for t in range(5)),
        ),
        curves,
    )


def score_shifts(pairs: Pairs) -> npt.NDArray[np.float64]:
    """Return INT8's minus float's score of all pairs that match above the threshold."""
    shifts = []
    for reference, found in pairs:
        sure = reference.where(reference.scores >= THRESHOLD)
        other = found.where(found.scores >= THRESHOLD)
        shifts += [float(other.scores[f] - sure.scores[r]) for r, f, _ in match(sure, other)]
    return np.array(shifts, np.float64)


def range_chart(part: str, style: str, layers: Sequence[Layer]) -> Chart:
    """Return, layer by layer, the values that it reads and those that INT8 can tell."""
    ranges = [layer.range for layer in layers if layer.range is not None]
    seen = [(float(i), r.seen_high) for i, r in enumerate(ranges)]
    seen += [(float(i), r.seen_low) for i, r in reversed(list(enumerate(ranges)))]
    values = [abs(v) for r in ranges for v in (r.low, r.high, r.seen_low, r.seen_high)]
    most = max([*values, 1.0])
    ticks = [v for v in (-100.0, -10.0, -1.0, 0.0, 1.0, 10.0, 100.0, 1e3, 1e4) if abs(v) <= most]
    lowest = min([0.0, *(r.low for r in ranges), *(r.seen_low for r in ranges)])
    return chart(
        f"Ranges, {part}",
        "What each convolution reads: the area are values on a frame, the lines the range that "
        "INT8 can tell. Area outside of the lines is cut off; lines far outside of it are wasted.",
        Axis("convolutions, from the image to the boxes", 0, max(1, len(ranges) - 1), ()),
        Axis("value", lowest, most, tuple((v, f"{v:g}") for v in ticks if v >= lowest), _symlog),
        [
            ("values", "muted", seen, True),
            ("lowest", style, [(float(i), r.low) for i, r in enumerate(ranges)], False),
            ("highest", style, [(float(i), r.high) for i, r in enumerate(ranges)], False),
        ],
    )


def noise_chart(parts: Sequence[tuple[str, str, Sequence[Layer]]]) -> Chart:
    """Return how much of each layer's output is noise, from the image to the boxes."""
    noises = [max(layer.noise, _LEAST_NOISE) for _, _, layers in parts for layer in layers]
    first = math.floor(math.log10(min([*noises, 1e-3])))
    last = math.ceil(math.log10(max([*noises, 1e-2])))
    low, high = 10.0**first, 10.0**last
    ticks = tuple((10.0**e, f"{10.0 ** (e + 2):g}%") for e in range(first, last + 1))
    longest = max((len(layers) for _, _, layers in parts), default=1)
    return chart(
        "Noise, layer by layer",
        "How much of what each convolution reads INT8 changed, as a share of its variance, all "
        "layers before it in INT8 too. A step up is a layer that INT8 hurts; below 1% is good.",
        Axis("convolutions, from the image to the boxes", 0, max(1, longest - 1), ()),
        Axis("noise", low, high, ticks, math.log10),
        [
            (name, style, [(float(i), max(x.noise, low)) for i, x in enumerate(layers)], False)
            for name, style, layers in parts
        ],
    )


def _symlog(value: float) -> float:
    """Return a logarithm that goes through 0: large and small values in one picture."""
    return math.copysign(math.log10(1 + abs(value) * 10), value)
