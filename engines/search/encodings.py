"""Both INT8 graphs of one calibration, with any layers in float and their scores recentred."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING

from calibration.measured import CPU, TENSORRT, Calibrated
from edge.detector.bundle import PORTABLE_GRAPH, TENSORRT_GRAPH
from engines.portable import portable
from engines.search.effects import Scores
from engines.search.ranges import factors
from engines.search.recentre import Recentre

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from calibration.measured import Measured
    from engines.images import Progress

ENCODINGS = {PORTABLE_GRAPH: CPU, TENSORRT_GRAPH: TENSORRT}
"""By the part of a bundle."""
_FRAMES = 16


class Encodings:
    """What `measured` knows, written down; `parts` are the graphs to make."""

    def __init__(self, measured: Measured, parts: Sequence[str], progress: Progress) -> None:
        self.measured = measured
        self._parts = parts
        total = len(measured.last)
        self._recentred = Recentre(
            measured.model,
            measured.last,
            measured.frames[:: -(-len(measured.frames) // _FRAMES)],
            lambda done: progress("measuring scores", done, total),
        )

    @cached_property
    def scores(self) -> Scores:
        """The float graph's, on the calibration frames: only a search needs them."""
        return Scores.of(self.measured.model, self.measured.frames)

    def one(self, part: str, in_float: Sequence[str]) -> onnx.ModelProto:
        """Return the graph of a part, with these layers in float."""
        if part == TENSORRT_GRAPH:
            return self._recentred(self.measured.encode_tensorrt(in_float))
        return portable(self._recentred(self.measured.encode_cpu(in_float)))

    def refine(self, part: str, progress: Progress) -> None:
        """Choose the ranges of a part by what they do to detections."""
        encoding, told = ENCODINGS[part], f"trying the ranges of {part}"
        found = factors(
            self.measured, self.scores, encoding, lambda done, of: progress(told, done, of)
        )
        self.measured = self.measured.rescaled(encoding, found)

    def both(self, in_float: Mapping[str, Sequence[str]] | None) -> Calibrated:
        """Return the graphs of all parts, each with its own layers in float; None: the default."""
        named = None if in_float is None else {ENCODINGS[part]: in_float[part] for part in in_float}
        made = self.measured.encode(named)
        cpu = portable(self._recentred(made.cpu))
        if TENSORRT_GRAPH not in self._parts or made.tensorrt is None:
            report = {key: value for key, value in made.report.items() if key != TENSORRT}
            return Calibrated(cpu, None, report)
        return replace(made, cpu=cpu, tensorrt=self._recentred(made.tensorrt))
