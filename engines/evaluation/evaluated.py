"""A graph held to the float model, and what that says together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.detector.bundle import PORTABLE_GRAPH
from edge.detector.golden import FLOAT
from engines.errors import BudgetError
from engines.evaluation import accuracy, budget
from engines.evaluation.average_precision import average_precision
from engines.evaluation.promise import promise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx

    from edge.detector.runtime import RawDetections
    from engines.evaluation.accuracy import Grade
    from engines.evaluation.average_precision import AveragePrecision
    from engines.evaluation.budget import Budget, Check, Verdict
    from engines.evaluation.held_out import HeldOut
    from engines.evaluation.promise import Promise
    from engines.images import Progress
    from engines.search.layers import Searched


@dataclass(frozen=True, slots=True)
class Graded:
    """What one graph gives on the frames, and how that compares."""

    part: str
    raw: RawDetections
    grade: Grade
    labels: Mapping[str, Grade]
    """By name, of every label that either graph has."""
    precision: AveragePrecision | None
    promise: Promise
    checks: tuple[Check, ...]

    @property
    def held(self) -> bool:
        """Whether the budget holds."""
        return all(check.held for check in self.checks)

    @property
    def use(self) -> float:
        """Share of the tightest limit that is used up."""
        return max(check.use for check in self.checks)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """All that was found out about the graphs of one build."""

    held_out: HeldOut
    precision: AveragePrecision | None
    """The float model's, on the annotated frames."""
    graphs: Mapping[str, onnx.ModelProto]
    """By part; `float` is the reference."""
    graded: Mapping[str, Graded]
    verdict: Verdict
    searched: Mapping[str, Searched]
    speed: dict[str, Any]

    @property
    def raw(self) -> dict[str, RawDetections]:
        """Every graph's outputs on the frames, float's too."""
        return {FLOAT: self.held_out.raw} | {p: g.raw for p, g in self.graded.items()}


class Judge:
    """Holds graphs to the float model on the same frames, and to a budget.

    Those that give one box an object, and so have nothing that `suppresses` others, are not held to
    what scores promise: of that they lost much and of measured precision nothing.
    """

    def __init__(
        self, held_out: HeldOut, names: Sequence[str], limits: Budget, *, suppresses: bool
    ) -> None:
        self.held_out = held_out
        self._suppresses = suppresses
        self._names = names
        self._budget = limits
        height, width, _ = held_out.frames[0].shape
        self._size_wh = (width, height)
        self.precision = self._precision(held_out.raw)
        """The float model's."""

    def grade(self, part: str, graph: onnx.ModelProto, progress: Progress) -> Graded:
        """Run the graph on the frames and compare."""
        reference = self.held_out.raw
        raw = accuracy.run_graph(
            graph,
            self.held_out.frames,
            lambda done, total: progress(f"evaluating {part}", done, total),
        )
        grade = accuracy.grade(reference, raw, self._size_wh)
        of_label = accuracy.grade_by_label(reference, raw, self._size_wh)
        labels = {self._names[label]: seen for label, seen in of_label.items()}
        precision = self._precision(raw)
        pair = (self.precision, precision) if self.precision and precision else None
        checks = [*budget.check(part, self._budget, grade, labels, pair)]
        kept = promise(reference, raw, self._size_wh)
        if pair:
            checks += budget.worst_label(part, self._budget, pair, self._names)
        elif self._suppresses:
            checks += budget.promised(part, self._budget, kept)
        return Graded(part, raw, grade, labels, precision, kept, tuple(checks))

    def verdict(self, graded: Mapping[str, Graded], *, allow_drop: bool) -> Verdict:
        """Return what all graphs together come to."""
        return budget.Verdict(
            self._budget,
            checks=tuple(check for found in graded.values() for check in found.checks),
            warnings=budget.warnings(self.held_out.confident, self.precision, self.held_out.told),
            allow_drop=allow_drop,
        )

    def _precision(self, raw: RawDetections) -> AveragePrecision | None:
        places, truths = self.held_out.annotated
        return average_precision(truths, raw, places) if truths else None


def refuse_blind(model: str, graded: Mapping[str, Graded]) -> None:
    """Raise `BudgetError` for a graph that detects nothing: no option ships that."""
    for part, found in graded.items():
        if not found.grade.agreement.found:
            raise BudgetError(
                f"the INT8 graph {part} of {model} detects nothing, where the float model has "
                f"{found.grade.agreement.reference} detections",
                "give more images, of the cameras that will use it, to calibrate on"
                + (
                    ", or say --runtime onnxruntime if no device has TensorRT"
                    * (part != PORTABLE_GRAPH)
                ),
            )
