"""The accuracy gate of a build: encode, judge, and search where the budget is missed."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from calibration.quantise import measure
from edge.detector import bundle
from engines.errors import BudgetError
from engines.evaluation import location
from engines.evaluation.budget import Budget, worst_labels
from engines.evaluation.evaluated import Judge, refuse_blind
from engines.evaluation.location import Location
from engines.evaluation.moved_scenes import MovedScenes
from engines.evaluation.views import widened
from engines.search.encodings import Encodings
from engines.search.layers import MOST_TRIED, Search
from engines.search.sensitivity import candidates

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
    from engines.search.layers import Searched

_PLACE = 1.5
"""What a graph is taken to use up that is blind in one place only: what is lost there does not tell
how much less noise would bring it back, so a search asks for a third less."""
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
    """How one graph was judged: wherever things stand, too, once all else holds."""

    graded: Graded
    where: Location | None

    @property
    def use(self) -> float:
        """Share of the tightest limit that is used up."""
        blind = self.where is not None and not all(check.held for check in self.where.checks())
        return _PLACE if blind else self.graded.use


class _Trial:
    """Tries encodings on the frames of the verdict."""

    def __init__(
        self, adapted: Adapted, encodings: Encodings, judge: Judge, progress: Progress
    ) -> None:
        self._encodings = encodings
        self._judge = judge
        self._scenes = MovedScenes(adapted.graph, judge.held_out, adapted.input.pad, progress)
        self._progress = progress

    def judged(self, part: str, graph: onnx.ModelProto) -> _Tried:
        """Judge a graph; wherever things stand only if all else holds."""
        return self._placed(graph, self._judge.grade(part, graph, self._progress))

    def _placed(self, graph: onnx.ModelProto, graded: Graded) -> _Tried:
        return _Tried(graded, self.located(graph, graded) if graded.held else None)

    def located(self, graph: onnx.ModelProto, graded: Graded) -> Location:
        """Say how well a graph finds things wherever they stand."""
        return location.evaluate(self._scenes, graded.part, graph, graded.raw)

    def settled(self, part: str) -> tuple[_Tried, Searched | None]:
        """Return how a graph was judged with as few layers in float as its budget allows."""
        self._encodings.refine(part, self._progress)
        tried = self.judged(part, self._encodings.one(part, ()))
        if tried.use <= 1:
            return tried, None
        search = Search(part, candidates(self._encodings, part, self._progress))
        return self._searched(search, tried), search.found()

    def _searched(self, search: Search, tried: _Tried) -> _Tried:
        """Try what the search asks for.

        Wherever things stand it is judged only where it has settled: that takes several times as
        long as all the rest.
        """
        part, known = search.part, {search.names: tried}
        more = search.step(tried.use)
        while more:
            while more:
                told = f"searching {part}, {len(search.names)} layers in float"
                self._progress(told, len(known) - 1, MOST_TRIED)
                graph = self._encodings.one(part, search.names)
                found = _Tried(self._judge.grade(part, graph, self._progress), None)
                known[search.names] = found
                more = search.step(found.use)
            more = self._blind(search, known)
        return known[search.names]

    def _blind(self, search: Search, known: dict[tuple[str, ...], _Tried]) -> bool:
        """Return whether there is more to try, where what the search ended with is blind somewhere.

        What it ends with instead may have been tried before, but not for that.
        """
        while (best := known.get(search.names)) and best.where is None and best.graded.held:
            graph = self._encodings.one(search.part, search.names)
            best = known[search.names] = self._placed(graph, best.graded)
            if best.use > 1 and search.step(best.use):
                return True
        return False


def pass_gate(
    adapted: Adapted, chosen: Selection, held: HeldOut, gate: Gate, progress: Progress
) -> Passed:
    """Return graphs that hold the budget, the fewest layers in float; raises `BudgetError`."""
    measured = measure(adapted.graph, chosen.calibration, progress)
    encodings = Encodings(measured, gate.parts, progress)
    if gate.search:
        held = widened(adapted, held, measured.multiplications, progress)
    judge = Judge(held, adapted.labels, gate.budget, suppresses=adapted.iou is not None)
    trial = _Trial(adapted, encodings, judge, progress)
    named: dict[str, tuple[str, ...]] | None = None
    tried: dict[str, _Tried] = {}
    searched: dict[str, Searched] = {}
    if gate.search:
        for part in gate.parts:
            tried[part], found = trial.settled(part)
            if found is not None:
                searched[part] = found
        named = {part: found.names for part, found in searched.items()}
    calibrated = encodings.both(named)
    graphs = _graphs(calibrated)
    if not gate.search:
        tried = {part: trial.judged(part, graph) for part, graph in graphs.items()}
    graded = {part: seen.graded for part, seen in tried.items()}
    refuse_blind(adapted.order.model.name, graded)
    all_int8 = calibrated.cpu
    if bundle.PORTABLE_GRAPH in searched:
        all_int8 = encodings.one(bundle.PORTABLE_GRAPH, ())
    passed = Passed(
        encodings.measured.layers,
        all_int8,
        calibrated,
        judge,
        graded,
        Location({}, {}),
        searched,
        judge.verdict(graded, allow_drop=gate.allow_drop),
    )
    refuse_missed(adapted, passed, gate)
    places = [
        seen.where or trial.located(graphs[part], seen.graded) for part, seen in tried.items()
    ]
    where = location.together(places)
    passed = replace(passed, where=where, verdict=passed.verdict.also(where.checks()))
    refuse_missed(adapted, passed, gate)
    return passed


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
