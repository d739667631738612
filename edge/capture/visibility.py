"""Whether a camera's pictures show anything: the "cannot see" verdict.

Everything is measured on a picture reduced to 240 pixels, for two reasons: it is cheap, and each of
its pixels is the mean of only four, which keeps edges sharp and halves the noise. The thresholds
were set on real shelf, store and conveyor footage and on the same frames degraded step by step:
each lies between the last step at which a detector still found most objects and the first at which
it found next to none, and where the two overlap a usable picture is not called blind.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edge.frame import Blindness

if TYPE_CHECKING:
    from edge.frame import Image

Grey = npt.NDArray[np.float32]

SETTLE_S = 1.0
"""How long pictures must agree before the verdict changes."""
FROZEN_S = 10.0
"""A live picture that has been exactly the same for this long is not live."""
LOOK_EVERY_S = 0.08
"""Pictures closer together than this share one look."""

_SIDE_PX = 240
_COARSE = 4
_MARGIN = 10  # a camera's clock and name are burnt into the top and bottom tenth
_SMALLEST_PX = 32

_DARK_LEVEL = 20
_DIM_LEVEL = 40
_WHITE_LEVEL = 245
_BLOWN_OUT_SHARE = 0.7
_NO_EDGE = 1.0
_FAINT_EDGE = 0.03
_BLURRED = 1.35
_SOFT = 1.6
_SOFTENED = 0.62
_BASELINE_S = 60.0
_FROZEN_PICTURES = 3


@dataclass(frozen=True, slots=True)
class Look:
    """What was measured on one picture. Levels and edges are in grey levels, 0..255."""

    bright: float
    """Level that 98 % of the pixels stay below."""
    white: float
    """Share of the pixels at or above 245."""
    edge: float
    """Slope, per pixel, of the steepest 1 %, with what noise alone would make taken off."""
    sharpness: float
    """Slope of the fine edges over that of the same edges at a quarter of the resolution: towards 4
    for a step, 1 for a slope much wider than the reduced pixel. Contrast cancels out."""
    fingerprint: int
    """Equal for equal pictures."""


def look(image: Image) -> Look:
    """Measure one picture, uint8 (H, W, 3) BGR."""
    import cv2

    height, width = image.shape[:2]
    shrink = min(1.0, _SIDE_PX / max(height, width))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    grey = cv2.cvtColor(cv2.resize(image, size), cv2.COLOR_BGR2GRAY)
    margin = size[1] // _MARGIN
    grey = grey[margin : size[1] - margin]
    levels = np.cumsum(cv2.calcHist([grey], [0], None, [256], [0, 256]).ravel()) / grey.size
    bright = float(np.searchsorted(levels, 0.98))
    white = float(1 - levels[_WHITE_LEVEL - 1])
    edge, sharpness = _edges(grey.astype(np.float32))
    return Look(bright, white, edge, sharpness, zlib.crc32(np.ascontiguousarray(grey).data))


def _edges(grey: Grey) -> tuple[float, float]:
    import cv2

    height, width = grey.shape
    if min(height, width) < _SMALLEST_PX:
        return 255.0, float(_COARSE)  # too small to tell: the benefit of the doubt
    smooth = np.asarray(cv2.GaussianBlur(grey, (5, 5), 1.0), np.float32)
    fine = _steepest(_slopes(smooth)[::2, ::2])
    size = width // _COARSE, height // _COARSE
    reduced = np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA), np.float32)
    coarse = _steepest(_slopes(reduced)) / _COARSE
    noise = _noise(grey)
    # What noise of that deviation gives: 0.45 of it measured; 0.6 to be sure that none is left.
    sure = max(0.0, fine**2 - (0.6 * noise) ** 2) ** 0.5
    likely = max(0.0, fine**2 - (0.45 * noise) ** 2) ** 0.5
    return sure, likely / max(coarse, 0.05)


def _slopes(grey: Grey) -> Grey:
    import cv2

    right = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=1 / 8)
    down = cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=1 / 8)
    return np.asarray(cv2.magnitude(right, down), np.float32)


def _steepest(slopes: Grey) -> float:
    sixteenths = (slopes * 16).astype(np.int16).ravel()  # partitioning integers is 3 times faster
    rank = int(0.99 * len(sixteenths))
    return float(np.partition(sixteenths, rank)[rank]) / 16


def _noise(grey: Grey) -> float:
    """Estimate the noise's standard deviation.

    J. Immerkaer, "Fast noise variance estimation" (1996), with the median for the mean so that
    edges do not count as noise.
    """
    import cv2

    kernel = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    residue = np.abs(cv2.filter2D(grey, -1, kernel)[::3, ::3])
    return float(np.median(residue)) / 0.6745 / 6


def judge(seen: Look, baseline: float | None) -> Blindness | None:
    """Return why a picture shows nothing, or None.

    `baseline` is the camera's usual sharpness, None while it is not known.
    """
    edgeless = seen.edge < _NO_EDGE or (
        seen.edge < _FAINT_EDGE * seen.bright and seen.sharpness < _BLURRED
    )
    if seen.bright < (_DIM_LEVEL if edgeless else _DARK_LEVEL):
        return Blindness.DARK
    if seen.white > _BLOWN_OUT_SHARE:
        return Blindness.BLOWN_OUT
    if edgeless:
        return Blindness.COVERED
    softened = baseline is not None and seen.sharpness < min(_SOFT, _SOFTENED * baseline)
    return Blindness.BLURRED if softened or seen.sharpness < _BLURRED else None


class Visibility:
    """One camera's verdict over time: a single odd picture does not change it.

    The first picture counts at once: nobody knows yet that the camera can see. Used by one thread.
    `live` says whether equal pictures mean that the camera hangs.
    """

    def __init__(self, *, live: bool) -> None:
        self.settled: Blindness | None = None
        self.latest: Blindness | None = None
        """The last picture's own verdict."""
        self._live = live
        self._baseline: float | None = None
        self._looked_s: float | None = None
        self._pending: Blindness | None = None
        self._pending_s: float | None = None
        self._fingerprint: int | None = None
        self._same_since_s = 0.0
        self._same = 0

    def look(self, image: Image, time_s: float) -> None:
        """Take a picture, uint8 (H, W, 3) BGR, made at `time_s`, into account."""
        since_s = None if self._looked_s is None else time_s - self._looked_s
        if since_s is not None and 0 <= since_s < LOOK_EVERY_S:
            return
        seen = look(image)
        self.latest = judge(seen, self._baseline)
        if self._live and self.latest is None and self._frozen(seen.fingerprint, time_s):
            self.latest = Blindness.FROZEN
        if self.latest is None:
            self._learn(seen.sharpness, max(0.0, since_s or 0.0))
        if since_s is None:
            self.settled = self.latest
        elif since_s < 0:  # a recording that had to be opened again starts over
            self._pending_s = None
        self._looked_s = time_s
        self._settle(self.latest, time_s)

    def _frozen(self, fingerprint: int, time_s: float) -> bool:
        if fingerprint != self._fingerprint:
            self._fingerprint, self._same_since_s, self._same = fingerprint, time_s, 0
        self._same += 1
        return self._same >= _FROZEN_PICTURES and time_s - self._same_since_s >= FROZEN_S

    def _learn(self, sharpness: float, since_s: float) -> None:
        if self._baseline is None:
            self._baseline = sharpness
        weight = min(0.1, since_s / _BASELINE_S)
        self._baseline += weight * (sharpness - self._baseline)

    def _settle(self, verdict: Blindness | None, time_s: float) -> None:
        if verdict == self.settled:
            self._pending_s = None
            return
        # From seeing to blind the reasons may alternate; from blind on, only one that stays counts.
        changed = self.settled is not None and verdict != self._pending
        self._pending = verdict
        if self._pending_s is None or changed:
            self._pending_s = time_s
        elif time_s - self._pending_s >= SETTLE_S:
            self.settled, self._pending_s = verdict, None
