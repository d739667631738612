"""What the sensor makes of the light: slow drift, flicker, noise, and darkness when it fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge.frame import Image

_MARGIN = 64
_FADE_S = 0.4
_DRIFT_S = 140.0
_DRIFT, _FLICKER = 0.07, 0.010
_BLACK = 6.0


class Sensor:
    """Turns still light into frames; the same moment always has the same noise.

    `noise` is the standard deviation in grey levels; from `blind_after_s` on (None: never) the
    picture fades to black within half a second.
    """

    def __init__(
        self, seed: int, resolution_wh: tuple[int, int], noise: float, blind_after_s: float | None
    ) -> None:
        self._seed, self._blind_after = seed, blind_after_s
        width, height = resolution_wh
        chance = np.random.default_rng([seed, 31])
        self._phase = float(chance.uniform(0, 2 * np.pi))
        shape = (height + _MARGIN, width + _MARGIN)
        grain = chance.standard_normal((*shape, 3), np.float32) * np.float32(noise * 0.6)
        grain += chance.standard_normal((*shape, 1), np.float32) * np.float32(noise * 0.8)
        np.round(grain, out=grain)
        self._lighter = np.clip(grain, 0, 255).astype(np.uint8)
        self._darker = np.clip(-grain, 0, 255).astype(np.uint8)

    def expose(self, image: Image, time_s: float) -> Image:
        """Return the frame taken of a picture, uint8 (H, W, 3), at a time."""
        import cv2

        table = np.clip(np.arange(256) * self.gain(time_s) + _BLACK, 0, 255).astype(np.uint8)
        chance = np.random.default_rng([self._seed, 32, round(time_s * 1e6)])
        x, y = (int(n) for n in chance.integers(0, _MARGIN, 2))
        height, width = image.shape[:2]
        here = np.s_[y : y + height, x : x + width]
        frame = cv2.LUT(image, table)
        frame = cv2.add(frame, self._lighter[here], dst=frame)
        return np.asarray(cv2.subtract(frame, self._darker[here], dst=frame), np.uint8)

    def gain(self, time_s: float) -> float:
        """Return the exposure at a time: 1 is as drawn, 0 is dark."""
        drift = _DRIFT * np.sin(2 * np.pi * time_s / _DRIFT_S + self._phase)
        flicker = _FLICKER * np.sin(2 * np.pi * time_s * 9.7 + self._phase)
        gain = 1.0 + float(drift + flicker)
        if self._blind_after is not None:
            gain *= float(np.clip(1 - (time_s - self._blind_after) / _FADE_S, 0, 1))
        return gain
