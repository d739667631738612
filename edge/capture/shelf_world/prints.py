"""What is printed on a package: layouts, motifs, words, bar codes and labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .motifs import MOTIFS, draw_motif
from .styles import PALETTES, WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import Image

    from .motifs import Outline
    from .styles import Bgr, Picker

_BAR_MODULES = 45


@dataclass(frozen=True)
class Print:
    """One product's design: `colours` are ground, contrast, accent, dark."""

    colours: tuple[Bgr, ...]
    motif: Outline
    word: str
    layout: Callable[[Image, Print], None]

    def on(self, width: int, height: int) -> Image:
        """Return the design on a face of that many pixels, uint8 (H, W, 3)."""
        face: Image = np.empty((height, width, 3), np.uint8)
        face[:] = self.colours[0]
        self.layout(face, self)
        return face


def design(picker: Picker) -> Print:
    """Choose a design."""
    return Print(
        picker.pick("palette", PALETTES),
        picker.pick("motif", MOTIFS),
        picker.pick("word", WORDS),
        picker.pick("layout", LAYOUTS),
    )


def write(face: Image, text: str, box: tuple[float, float, float, float], colour: Bgr) -> None:
    """Write a word as large as fits into a box: left, top, width, height as parts of the face."""
    import cv2

    rows, columns = face.shape[:2]
    (wide, high), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    scale = min(box[2] * columns / max(wide, 1), box[3] * rows / max(high, 1))
    if scale * high < 4:  # noqa: PLR2004 - no letter is legible below four pixels
        return
    left = round((box[0] + box[2] / 2) * columns - wide * scale / 2)
    base = round((box[1] + box[3] / 2) * rows + high * scale / 2)
    thick = max(1, round(scale * 2.4))
    cv2.putText(
        face, text, (left, base), cv2.FONT_HERSHEY_DUPLEX, scale, colour, thick, cv2.LINE_AA
    )


def fill(face: Image, box: tuple[float, float, float, float], colour: Bgr) -> None:
    """Fill a box: left, top, width, height as parts of the face."""
    rows, columns = face.shape[:2]
    left, top = round(box[0] * columns), round(box[1] * rows)
    right, bottom = round((box[0] + box[2]) * columns), round((box[1] + box[3]) * rows)
    face[max(top, 0) : bottom, max(left, 0) : right] = colour


def bar_code(
    face: Image, box: tuple[float, float, float, float], chance: np.random.Generator
) -> None:
    """Print a bar code on white into a box, parts of the face."""
    import cv2

    rows, columns = face.shape[:2]
    left, top = round(box[0] * columns), round(box[1] * rows)
    width, height = round(box[2] * columns), round(box[3] * rows)
    there = face[top : top + height, left : left + width]
    if min(there.shape[:2]) < 4:  # noqa: PLR2004 - too small to show a bar
        return
    bars = np.full((1, _BAR_MODULES + 6), 255, np.uint8)
    bars[0, 3:-3] = np.where(chance.random(_BAR_MODULES) < 0.5, 25, 255)  # noqa: PLR2004
    code = cv2.resize(bars, (there.shape[1], there.shape[0]), interpolation=cv2.INTER_AREA)
    code[: max(1, height // 10)] = 255
    code[-max(1, height // 6) :] = 255
    there[:] = code[..., None]


def label(face: Image, box: tuple[float, float, float, float], chance: np.random.Generator) -> None:
    """Stick a shipping label into a box: lines of text, a bar code, a square code."""
    rows, columns = face.shape[:2]
    left, top = round(box[0] * columns), round(box[1] * rows)
    there = face[top : top + round(box[3] * rows), left : left + round(box[2] * columns)]
    if min(there.shape[:2]) < 12:  # noqa: PLR2004 - too small to print on
        return
    there[:] = (236, 242, 243)
    fill(there, (0.06, 0.07, 0.5, 0.10), (40, 40, 40))
    for line in range(3):
        fill(there, (0.06, 0.22 + 0.08 * line, float(chance.uniform(0.3, 0.6)), 0.035), (90,) * 3)
    bar_code(there, (0.05, 0.50, 0.90, 0.42), chance)
    square = there[
        round(there.shape[0] * 0.08) : round(there.shape[0] * 0.42), round(there.shape[1] * 0.72) :
    ]
    cells = np.where(chance.random((9, 9)) < 0.5, 30, 240).astype(np.uint8)  # noqa: PLR2004
    step_y, step_x = np.indices(square.shape[:2])
    if square.size:
        square[:] = cells[step_y * 9 // square.shape[0], step_x * 9 // square.shape[1]][..., None]


def _band(face: Image, design: Print) -> None:
    _, contrast, accent, dark = design.colours
    fill(face, (0, 0.30, 1, 0.40), contrast)
    fill(face, (0, 0.27, 1, 0.03), accent)
    fill(face, (0, 0.70, 1, 0.03), accent)
    write(face, design.word, (0.1, 0.38, 0.8, 0.20), dark)
    draw_motif(face, design.motif, (0.5, 0.85, 0.11), accent)
    write(face, design.word[::-1].upper(), (0.25, 0.10, 0.5, 0.07), contrast)


def _diagonal(face: Image, design: Print) -> None:
    import cv2

    _, contrast, accent, dark = design.colours
    rows, columns = face.shape[:2]
    for shift, colour in ((0.0, accent), (0.06, contrast)):
        polygon = np.array([(0, 0.75 + shift), (1, 0.35 + shift), (1, 1.1), (0, 1.1)])
        cv2.fillPoly(
            face, [np.round(polygon * (columns, rows)).astype(np.int32)], colour, cv2.LINE_AA
        )
    write(face, design.word, (0.08, 0.10, 0.84, 0.22), contrast)
    draw_motif(face, design.motif, (0.68, 0.72, 0.2), accent)
    write(face, design.word, (0.08, 0.86, 0.4, 0.07), dark)


def _header(face: Image, design: Print) -> None:
    ground, contrast, accent, dark = design.colours
    fill(face, (0, 0.24, 1, 0.76), contrast)
    write(face, design.word, (0.1, 0.05, 0.8, 0.14), contrast)
    draw_motif(face, design.motif, (0.5, 0.55, 0.25), ground)
    draw_motif(face, design.motif, (0.5, 0.55, 0.15), accent)
    fill(face, (0.12, 0.86, 0.76, 0.03), dark)
    fill(face, (0.2, 0.92, 0.6, 0.02), dark)


def _stripes(face: Image, design: Print) -> None:
    _, contrast, accent, dark = design.colours
    for stripe in range(4):
        fill(face, (0.04 + 0.25 * stripe, 0, 0.10, 1), accent if stripe % 2 else contrast)
    draw_motif(face, MOTIFS[0], (0.5, 0.45, 0.36), dark)
    draw_motif(face, MOTIFS[0], (0.5, 0.45, 0.33), contrast)
    write(face, design.word, (0.22, 0.36, 0.56, 0.15), dark)
    draw_motif(face, design.motif, (0.5, 0.60, 0.08), accent)


def _sun(face: Image, design: Print) -> None:
    ground, contrast, accent, dark = design.colours
    rows = face.shape[0]
    fade = np.linspace(1.0, 0.0, rows)[:, None, None]
    face[:] = (fade * np.array(ground) + (1 - fade) * np.array(dark)).astype(np.uint8)
    draw_motif(face, MOTIFS[0], (0.5, 0.55, 0.34), accent)
    draw_motif(face, design.motif, (0.5, 0.55, 0.24), contrast)
    write(face, design.word, (0.08, 0.06, 0.84, 0.14), contrast)
    fill(face, (0.0, 0.92, 1, 0.05), accent)


def _scatter(face: Image, design: Print) -> None:
    _, contrast, accent, dark = design.colours
    for row in range(5):
        for column in range(4):
            where = (0.14 + 0.27 * column - 0.06 * (row % 2), 0.08 + 0.21 * row, 0.055)
            draw_motif(face, design.motif, where, accent)
    fill(face, (0.1, 0.36, 0.8, 0.28), dark)
    fill(face, (0.12, 0.375, 0.76, 0.25), contrast)
    write(face, design.word, (0.18, 0.42, 0.64, 0.16), dark)


def _halves(face: Image, design: Print) -> None:
    _, contrast, accent, dark = design.colours
    fill(face, (0.5, 0, 0.5, 1), contrast)
    draw_motif(face, design.motif, (0.27, 0.3, 0.18), contrast)
    draw_motif(face, design.motif, (0.74, 0.72, 0.18), accent)
    fill(face, (0, 0.47, 1, 0.14), dark)
    write(face, design.word, (0.1, 0.485, 0.8, 0.11), contrast)


def _frame(face: Image, design: Print) -> None:
    _, contrast, accent, dark = design.colours
    fill(face, (0.06, 0.05, 0.88, 0.90), contrast)
    fill(face, (0.09, 0.07, 0.82, 0.86), accent)
    write(face, design.word, (0.14, 0.12, 0.72, 0.16), dark)
    draw_motif(face, design.motif, (0.5, 0.52, 0.2), contrast)
    for line in range(4):
        fill(face, (0.2, 0.77 + 0.035 * line, 0.6 - 0.1 * (line % 2), 0.015), dark)


LAYOUTS = (_band, _diagonal, _header, _scatter, _stripes, _sun, _halves, _frame)
