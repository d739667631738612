"""The accuracy gate of a build: encode, judge, and search where the budget is missed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from calibration.quantise import measure
from edge.detector import bundle
from edge.detector.golden import FLOAT
from engines.encodings import Encodings
from engines.errors import BudgetError
from engines.evaluation import held_out, location
from engines.evaluation.budget import Budget, worst_labels
from engines.evaluation.evaluated import Judge, refuse_blind
from engines.evaluation.location import Location
from engines.sensitivity import Sensitivity

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx

    from calibration.layers import Layer
    from calibration.measured import Calibrated
    from engines.evaluation.budget import Verdict
    from engines.evaluation.evaluated import Graded
    from engines.evaluation.held_out import HeldOut
    from engines.images import Progress, Selection
    from engines.inspection import Adapted
    from engines.search import Searched

SEARCH_FRAMES = 40
_AIMS = (0.95, 0.95, 0.85)
"""Share of a limit that a search aims at; the next where the held-out frames say it was not enough.
"""
_PLACE = 1.5
"""What a graph is taken to use up that is blind in one place only: what is lost there does not tell
how much less noise would bring it back, so each search asks for a third less."""
_WORST_CHECKS, _WORST_LAYERS = 4, 3


@dataclass(frozen=True, slots=True)
class Gate:
    """What is asked of the accuracy, and what may be done for it."""

    budget: Budget = field(default_factory=Budget)
    annotations: Path | None = None
    """COCO JSON of some of the images."""
    allow_drop: bool = False
    """Ship what misses the budget, and say so in the passport."""
    search: bool = True
    tensorrt: bool = True
    """Make the TensorRT graph too."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The graphs to make."""
        trt = (bundle.TENSORRT_GRAPH,) if self.tensorrt else ()
        return (bundle.PORTABLE_GRAPH, *trt)


@dataclass(frozen=True, slots=True)
class Passed:
    """The graphs that passed the gate, or were let through."""

    layers: tuple[Layer, ...]
    all_int8: onnx.ModelProto
    """The CPU graph before any layer was kept in float for the budget."""
    calibrated: Calibrated
    judge: Judge
    """With the frames that it judged on."""
    graded: Mapping[str, Graded]
    where: Location
    """How well they find things wherever these stand."""
    searched: Mapping[str, Searched]
    verdict: Verdict

    @property
    def graphs(self) -> dict[str, onnx.ModelProto]:
        """By part."""
        return _graphs(self.calibrated)


@dataclass(frozen=True, slots=True)
class _Tried:
    """Graphs, and how they were judged: wherever things stand, too, once all else holds."""

    calibrated: Calibrated
    graded: Mapping[str, Graded]
    where: Location | None

    @property
    def held(self) -> bool:
        """Whether the budget holds, and in the worst place, too."""
        return self.where is not None and not self.missed

    @property
    def missed(self) -> dict[str, float]:
        """Share of the tightest limit that each graph uses up which does not hold."""
        checks = () if self.where is None else self.where.checks()
        lost = {check.part for check in checks if not check.held}
        return {
            part: _PLACE if seen.held else seen.use
            for part, seen in self.graded.items()
            if part in lost or not seen.held
        }

    def known(self, part: str, searched: Mapping[str, Searched]) -> tuple[str, ...] | None:
        """Return the layers in float from which a search goes on; None where it begins anew.

        A graph that is short of nothing but a place has to use up less than it does.
        """
        if part in searched:
            return searched[part].names
        return () if self.graded[part].held else None


def pass_gate(
    adapted: Adapted, chosen: Selection, held: HeldOut, gate: Gate, progress: Progress
) -> Passed:
    """Return graphs that hold the budget, the fewest layers in float; raises `BudgetError`."""
    measured = measure(adapted.graph, chosen.calibration, progress)
    encodings = Encodings(measured, gate.parts, progress)
    judge = Judge(held, adapted.labels, gate.budget)
    tried = _try(adapted, encodings.both({} if gate.search else None), judge, progress)
    if gate.search and not tried.held:
        for part in tried.missed:
            encodings.refine(part, progress)
        tried = _try(adapted, encodings.both({}), judge, progress)
    all_int8 = tried.calibrated.cpu
    searched: dict[str, Searched] = {}
    if gate.search and not tried.held:
        aside, held = held_out.set_aside(adapted, chosen, held, SEARCH_FRAMES, progress)
        looking = Judge(aside, adapted.labels, gate.budget)
        search = Sensitivity(encodings, looking, gate.parts, progress)
        judge = Judge(held, adapted.labels, gate.budget)
        for aim in _AIMS:
            for part, use in tried.missed.items():
                searched[part] = search.fewest(part, aim, use, tried.known(part, searched))
            named = {part: found.names for part, found in searched.items()}
            tried = _try(adapted, encodings.both(named), judge, progress)
            if tried.held:
                break
    refuse_blind(adapted.order.model.name, tried.graded)
    passed = Passed(
        encodings.measured.layers,
        all_int8,
        tried.calibrated,
        judge,
        tried.graded,
        tried.where or Location({}, {}),
        searched,
        judge.verdict(tried.graded, allow_drop=gate.allow_drop),
    )
    refuse_missed(adapted, passed, gate)
    where = tried.where or _locate(adapted, tried.calibrated, tried.graded, judge, progress)
    passed = replace(passed, where=where, verdict=passed.verdict.also(where.checks()))
    refuse_missed(adapted, passed, gate)
    return passed


def _try(adapted: Adapted, calibrated: Calibrated, judge: Judge, progress: Progress) -> _Tried:
    graphs = _graphs(calibrated)
    graded = {part: judge.grade(part, graph, progress) for part, graph in graphs.items()}
    where = None
    if all(seen.held for seen in graded.values()):
        where = _locate(adapted, calibrated, graded, judge, progress)
    return _Tried(calibrated, graded, where)


def _locate(
    adapted: Adapted,
    calibrated: Calibrated,
    graded: Mapping[str, Graded],
    judge: Judge,
    progress: Progress,
) -> Location:
    graphs = {FLOAT: adapted.graph, **_graphs(calibrated)}
    raw = {part: seen.raw for part, seen in graded.items()}
    return location.evaluate(graphs, judge.held_out, raw, adapted.input.pad, progress)


def _graphs(calibrated: Calibrated) -> dict[str, onnx.ModelProto]:
    graphs = {bundle.PORTABLE_GRAPH: calibrated.cpu}
    if calibrated.tensorrt is not None:
        graphs[bundle.TENSORRT_GRAPH] = calibrated.tensorrt
    return graphs


def refuse_missed(adapted: Adapted, passed: Passed, gate: Gate) -> None:
    """Raise `BudgetError` where a limit is missed and no loss is allowed.

    It names what is missed, by which labels, and which layers lose most.
    """
    verdict = passed.verdict
    if verdict.held or gate.allow_drop:
        return
    parts = {check.part for check in verdict.missed}
    worst = passed.graded[verdict.missed[0].part]
    layers = sorted(passed.layers, key=lambda layer: (-layer.harm, layer.name))[:_WORST_LAYERS]
    kept = max((found.share for found in passed.searched.values()), default=0.0)
    searched = f", even with {kept:.0%} of the multiplications in float" if kept else ""
    searched = searched if gate.search else ", unsearched"
    remedies = ["give more images, of the cameras that will use it"]
    remedies += [] if gate.search else ["leave --no-search out"]
    if parts == {bundle.TENSORRT_GRAPH}:
        remedies.append("say --runtime onnxruntime if no device has TensorRT")
    raise BudgetError(
        f"model {adapted.order.model} misses its accuracy budget in INT8{searched}: "
        f"{'; '.join(str(check) for check in verdict.missed[:_WORST_CHECKS])}. Labels that lose "
        f"most: {', '.join(worst_labels(worst.labels)) or 'none by itself'}. Layers that lose "
        f"most: {', '.join(layer.name for layer in layers) or 'none by itself'}",
        f"{', '.join(remedies)}, or accept the loss with --allow-drop",
    )
