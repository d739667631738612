"""Shapes that stand for a brand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edge.frame import Image

    from .styles import Bgr

Outline = npt.NDArray[np.float64]
"""float64 (N, 2) around (0, 0), within radius 1."""


def _turns(count: int, phase: float = 0.0) -> npt.NDArray[np.float64]:
    return np.arange(count) / count * 2 * np.pi + phase - np.pi / 2


def _round(radius: npt.NDArray[np.float64]) -> Outline:
    """Return the outline whose radius is given at even turns from the top."""
    angle = _turns(len(radius))
    return np.stack([np.cos(angle), np.sin(angle)], axis=1) * radius[:, None]


def _outline(*points: tuple[float, float]) -> Outline:
    return np.array(points, np.float64)


_T = _turns(48) + np.pi / 2

MOTIFS: tuple[Outline, ...] = (
    _round(np.ones(40)),
    _round(np.tile([1.0, 0.42], 5)),
    _round(np.ones(3)),
    _round(np.ones(6)),
    _outline((0, -1), (0.6, 0), (0, 1), (-0.6, 0)),
    _round(0.72 + 0.28 * np.cos(6 * _T)),
    _outline(
        (-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3), (0.3, 1), (-0.3, 1),
        (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3),
    ),
    _outline((0.2, -1), (-0.6, 0.15), (-0.1, 0.15), (-0.3, 1), (0.6, -0.25), (0.1, -0.25)),
    np.stack([np.sin(_T) * np.sin(_T / 2) * 0.75, -np.cos(_T)], axis=1),
    _outline(
        (-1, 0.7), (-1, -0.5), (-0.5, 0.1), (0, -0.8), (0.5, 0.1), (1, -0.5), (1, 0.7)
    ),
    np.stack([0.95 * np.sin(_T) ** 3, -(13 * np.cos(_T) - 5 * np.cos(2 * _T)
                                        - 2 * np.cos(3 * _T) - np.cos(4 * _T)) / 17], axis=1),
    _round(np.tile([1.0, 0.78], 12)),
)  # fmt: skip
"""Disc, star, triangle, hexagon, diamond, flower, cross, bolt, drop, crown, heart, seal."""


def draw_motif(face: Image, motif: Outline, where: tuple[float, float, float], colour: Bgr) -> None:
    """Fill a motif at x, y (parts of the face), its radius a part of the face's shorter side."""
    import cv2

    rows, columns = face.shape[:2]
    radius = where[2] * min(rows, columns) * (1.0 if rows < 1.4 * columns else 1.3)
    points = motif * radius + (where[0] * columns, where[1] * rows)
    cv2.fillPoly(face, [np.round(points * 16).astype(np.int32)], colour, cv2.LINE_AA, 4)
