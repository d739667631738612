"""The tables a world's looks come from, and the picking that keeps the splits apart."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .splits import variants

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from .splits import Split

T = TypeVar("T")

Bgr = tuple[int, int, int]


def _bgr(text: str) -> tuple[Bgr, ...]:
    """Return the colours of a line of RRGGBB words."""
    return tuple(
        (int(word[4:6], 16), int(word[2:4], 16), int(word[:2], 16)) for word in text.split()
    )


def _table(text: str) -> tuple[tuple[Bgr, ...], ...]:
    return tuple(_bgr(line) for line in text.strip().splitlines())


PALETTES = _table("""
C8102E FFFFFF F2C200 1B1B1B
0B4F9E FFFFFF F58220 0A1E3C
1E7B3A FFF6D6 F2C200 123018
F58220 FFFFFF 4A1E5A 2A1408
5B2A86 FFFFFF F7B5D0 1E0C2E
00939A FFFFFF FFD23F 04363A
E8E1D0 7A1F1F C9A227 2B2118
F2C200 B5121B FFFFFF 1B1B1B
2B2B2B F2F2F2 D4AF37 8C1C1C
A3C644 FFFFFF 1D5C2E 17320F
FFFFFF C8102E 0B4F9E 222222
D81B60 FFFFFF 00ACC1 3A0A1E
7B4B2A F5E6C8 D9902F 2A180C
6EC1E4 FFFFFF E4002B 0B2A4A
8E1B3A F3D9B1 D4AF37 2A0712
F4A6B8 FFFFFF 8FD3C7 5A2A36
3F4E8C F0EAD6 E07A5F 15192F
FFD9A0 D2452D 3D405B 33200F
14532D FACC15 FFFFFF 071F10
B0BEC5 0D47A1 FF7043 1C262B
FF5A36 FFF3E0 263238 3A0E05
EDEDED 1E7B3A 8BC34A 203020
101F3C F2F2F2 6EC1E4 E4572E
C49A6C 3B2A1A FFFFFF 7A1F1F
""")
"""Print colours: ground, contrast, accent, dark."""

KRAFT = _bgr("B98B5B A87A4C C79C6E 9A7046 C2A077 B5895F AD8458 D8D2C6")
"""Corrugated board."""
PLASTIC = _bgr("1F5FA8 7A8288 B3262B 2F7D4A E0A526 2E3238 E06A1E 5B3E90")
"""Totes."""
WOOD = _bgr("C19A6B B08653 D2B48C 2D5FA0 A67F54 8F7350 C8A878 4A4F54")
"""Pallets; the fourth and the last are painted and plastic."""
GLASS = _bgr("2F6B3A 6B3A12 D9E6E8 F4F4F0 3A5F8A B5121B E8C46A 1F2A2A")
"""What bottles are made of."""

RACKS = _table("""
2456A4 F07D1A 8D9297
6E777D 3E464B 9AA0A3
1F6B4A E6B01E 8D9297
C9CDCF B5121B A9ADAF
26303A F2C200 7F858A
1D4E89 D9DDE0 A3A8AB
8A2E2A D9DDE0 94999C
3B3F8C 7FB069 8C9296
""")
"""Steel: uprights, beams, decks."""

FLOORS = _bgr("8E9092 A39F97 7E8488 9B8F80 6F7579 B0B2B0 8A8F85 98928A")
WALLS = _bgr("B8BCBE C9C4B8 9AA3A8 D6D6D2 AFA79A 8C959C C2CAC4 A89F9F")
SIGNS = _bgr("0B4F9E 1E7B3A 1B1B1B C8102E 5B2A86 00707A F58220 2B4A6F")

WORDS = (
    "NORVA", "TIKO", "HALDEN", "Rivo", "OXMA", "Bellis", "KORN", "ZUMA",
    "Fresco", "MELT", "Aldra", "PIXO", "VITAL", "Nube", "GRAN", "Lumo",
)  # fmt: skip


@dataclass(frozen=True)
class Light:
    """A building's light: how much from everywhere, per lamp, its colour, and the sensor's noise.

    `lean` moves the lamps along the aisle (-1 left to 1 right), `tint` is BGR, `noise` the standard
    deviation in grey levels.
    """

    ambient: float
    power: float
    lean: float
    lamps: int
    tint: tuple[float, float, float]
    noise: float


LIGHTS = (
    Light(0.60, 0.95, 0.0, 3, (1.0, 1.0, 1.0), 1.6),
    Light(0.48, 1.20, -0.6, 2, (0.90, 0.98, 1.03), 2.0),
    Light(0.70, 0.75, 0.3, 4, (1.05, 1.01, 0.96), 1.4),
    Light(0.54, 1.15, 0.9, 2, (0.84, 0.96, 1.06), 1.8),
    Light(0.30, 0.95, -0.3, 2, (1.10, 1.00, 0.88), 3.6),
    Light(0.78, 0.60, 0.0, 4, (1.02, 1.02, 0.98), 1.5),
    Light(0.44, 1.30, 0.7, 2, (0.94, 1.00, 1.00), 2.2),
    Light(0.36, 1.05, -0.8, 1, (1.12, 0.98, 0.88), 3.8),
)
"""From bright day to one lamp at night."""


@dataclass
class Picker:
    """Picks variants of one split by chance, and remembers which: `used` is table -> variants."""

    split: Split
    chance: np.random.Generator
    used: dict[str, set[int]] = field(default_factory=dict)

    def pick(self, name: str, table: Sequence[T]) -> T:
        """Return a variant of the table called `name`."""
        allowed = variants(self.split, len(table))
        index = allowed[int(self.chance.integers(len(allowed)))]
        self.used.setdefault(name, set()).add(index)
        return table[index]

    def between(self, low: float, high: float) -> float:
        """Return a number in [low, high), evenly."""
        return float(self.chance.uniform(low, high))
