"""Held-out frames seen otherwise: more to judge INT8 by where they show little.

How 8 bits round depends on every pixel, so the same scene mirrored or moved by a few pixels tells
more of what they do to detections. A verdict on forty objects is half chance.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from engines.evaluation.accuracy import CONFIDENT
from engines.evaluation.held_out import detecting, float_detections, joined
from engines.evaluation.sweep import picture_in, warp

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Image
    from engines.evaluation.held_out import HeldOut
    from engines.images import Progress
    from engines.inspection import Adapted

ENOUGH = 300
"""Confident detections of the float model from which on no more views are taken."""
_WORK = 1e12
"""Multiplications that looking once at all frames may take, about: of a large network no view is
taken."""
_MOVED_PX = (7, 5)
"""By no multiple of a stride: at those a network sees the same."""
_NEARER = 1.15


def widened(
    adapted: Adapted, held_out: HeldOut, multiplications: float, progress: Progress
) -> HeldOut:
    """Return the frames, and views of those that show something, until that is enough.

    `multiplications` are the network's for one frame. Nobody has annotated a view.
    """
    showing = [held_out.frames[place] for place in detecting(held_out.raw)]
    for view in _VIEWS:
        confident = int((held_out.raw.scores >= CONFIDENT).sum())
        work = (len(held_out.frames) + len(showing)) * multiplications
        if confident >= ENOUGH or work > _WORK:
            break
        frames = [view(frame, adapted.input.pad) for frame in showing]
        seen = joined(held_out, frames, float_detections(adapted, frames, progress))
        held_out = replace(seen, views=held_out.views + len(frames))
    return held_out


def _mirrored(frame: Image, pad: int) -> Image:
    """Mirror what the picture shows; the letterbox's bars stay where they are."""
    left, top, right, bottom = picture_in(frame, pad)
    changed = frame.copy()
    changed[top:bottom, left:right] = frame[top:bottom, left:right][:, ::-1]
    return changed


def _moved(frame: Image, pad: int) -> Image:
    return warp(frame, picture_in(frame, pad), 1.0, _MOVED_PX, pad)


def _nearer(frame: Image, pad: int) -> Image:
    picture = left, top, right, bottom = picture_in(frame, pad)
    middle = np.array([left + right, top + bottom]) / 2 * (1 - _NEARER)
    return warp(_mirrored(frame, pad), picture, _NEARER, (middle[0], middle[1]), pad)


_VIEWS: tuple[Callable[[Image, int], Image], ...] = (_mirrored, _moved, _nearer)
