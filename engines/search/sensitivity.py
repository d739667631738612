"""What each layer of a graph costs in 8 bits, and in float."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.detector import bundle
from engines.search.effects import affordable, effects
from engines.search.encodings import ENCODINGS
from engines.search.layers import Candidate

if TYPE_CHECKING:
    from calibration.layers import Layer
    from engines.images import Progress
    from engines.search.encodings import Encodings

_WORK = 2.5e12
"""Multiplications that trying the layers of one graph may take, about. A count and no clock: the
same inputs end in the same layers on any machine."""
_LOOKED_AT = (4, 16)
"""Frames of the calibration, that show something, on which each layer is tried, at least and most.
"""


def candidates(encodings: Encodings, part: str, progress: Progress) -> list[Candidate]:
    """Return the layers of a graph that may stay in float, each with what it spares."""
    encoding, measured = ENCODINGS[part], encodings.measured
    sparable = measured.sparable(encoding)
    frames = affordable(_WORK, measured.multiplications * len(sparable), _LOOKED_AT)
    found = effects(
        encodings.scores.spread(frames),
        ((name, measured.alone(encoding, name)) for name in sparable),
        lambda done: progress(f"trying the layers of {part}", done, len(sparable)),
    )
    return [
        Candidate(name, _noise(part, layer), found[name], {x.name: x.share for x in taken})
        for name, taken in sparable.items()
        for layer in taken
        if layer.name == name
    ]


def _noise(part: str, layer: Layer) -> float:
    return layer.tensorrt_noise if part == bundle.TENSORRT_GRAPH else layer.cpu_noise
