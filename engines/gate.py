"""The accuracy gate of a build: encode, judge, and search where the budget is missed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from calibration.quantise import measure
from edge.detector import bundle
from engines.effects import effects
from engines.encodings import ENCODINGS, Encodings
from engines.errors import BudgetError
from engines.evaluation import held_out
from engines.evaluation.budget import Budget, worst_labels
from engines.evaluation.evaluated import Judge, refuse_blind
from engines.search import Candidate, Searched, Trials, fewest, transferred

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

SEARCH_FRAMES = 40
_AIMS = (0.95, 0.95, 0.85)
"""Share of a limit that a search aims at; the next where the held-out frames say it was not enough.
"""
_WORK = 1e13
"""Multiplications that the search of one graph may take, about, twice: to try the layers, and to
try encodings. A count and no clock: the same inputs end in the same layers on any machine."""
_LOOKED_AT = (4, 16)
"""Frames of the search, at least and at most, on which each layer is tried by itself."""
_TRIES = (20, 100)
"""Encodings that are run for one graph, at most, of large networks and of small ones."""
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
    searched: Mapping[str, Searched]
    verdict: Verdict

    @property
    def graphs(self) -> dict[str, onnx.ModelProto]:
        """By part."""
        return _graphs(self.calibrated)


def pass_gate(
    adapted: Adapted, chosen: Selection, held: HeldOut, gate: Gate, progress: Progress
) -> Passed:
    """Return graphs that hold the budget, the fewest layers in float; raises `BudgetError`."""
    measured = measure(adapted.graph, chosen.calibration, progress)
    encodings = Encodings(measured, gate.parts, progress)
    judge = Judge(held, adapted.labels, gate.budget)
    calibrated = encodings.both({} if gate.search else None)
    all_int8 = calibrated.cpu
    graded = _grade(judge, calibrated, progress)
    searched: dict[str, Searched] = {}
    if gate.search and not _held(graded):
        aside, held = held_out.set_aside(adapted, chosen, held, SEARCH_FRAMES, progress)
        looking = Judge(aside, adapted.labels, gate.budget)
        search = _Search(encodings, looking, gate, progress)
        judge = Judge(held, adapted.labels, gate.budget)
        for aim in _AIMS:
            searched |= search.run(graded, searched, aim)
            calibrated = encodings.both({part: found.names for part, found in searched.items()})
            graded = _grade(judge, calibrated, progress)
            if _held(graded):
                break
    refuse_blind(adapted.order.model.name, graded)
    verdict = judge.verdict(graded, allow_drop=gate.allow_drop)
    passed = Passed(measured.layers, all_int8, calibrated, judge, graded, searched, verdict)
    refuse_missed(adapted, passed, gate)
    return passed


class _Search:
    """Searches each graph that misses the budget, on frames that it is not judged on."""

    def __init__(self, encodings: Encodings, judge: Judge, gate: Gate, progress: Progress) -> None:
        self._encodings = encodings
        self._judge = judge
        self._progress = progress
        most = self._within(_TRIES, len(judge.held_out.frames))
        self._trials = {part: Trials(partial(self._use, part), most) for part in gate.parts}
        self._candidates: dict[str, list[Candidate]] = {}

    def run(
        self, graded: Mapping[str, Graded], known: Mapping[str, Searched], aim: float
    ) -> dict[str, Searched]:
        """Return the layers to keep for the graphs that do not hold yet with those `known`."""
        return {
            part: self._one(part, seen, known[part].names if part in known else (), aim)
            for part, seen in graded.items()
            if not seen.held
        }

    def _one(self, part: str, seen: Graded, names: tuple[str, ...], aim: float) -> Searched:
        trials = self._trials[part]
        if names and (here := trials.use(names)) is not None:
            aim = transferred(aim, here, seen.use)
        if part not in self._candidates:
            self._candidates[part] = self._layers(part)
        return fewest(part, self._candidates[part], trials, aim)

    def _layers(self, part: str) -> list[Candidate]:
        """Return the layers that may stay in float, each with what it spares."""
        encoding, measured = ENCODINGS[part], self._encodings.measured
        sparable, frames = measured.sparable(encoding), self._judge.held_out.frames
        found = effects(
            measured.model,
            ((name, measured.alone(encoding, name)) for name in sparable),
            frames[:: -(-len(frames) // self._within(_LOOKED_AT, len(sparable)))],
            lambda done: self._progress(f"trying the layers of {part}", done, len(sparable)),
        )
        return [
            Candidate(name, _noise(part, layer), found[name], {x.name: x.share for x in taken})
            for name, taken in sparable.items()
            for layer in taken
            if layer.name == name
        ]

    def _within(self, limits: tuple[int, int], frames: int) -> int:
        """Return how often so many frames may be run, within limits."""
        once = self._encodings.measured.multiplications * frames
        return int(min(max(_WORK / max(once, 1.0), limits[0]), limits[1]))

    def _use(self, part: str, names: tuple[str, ...]) -> float:
        trials = self._trials[part]
        self._progress(f"searching {part}, {len(names)} layers in float", trials.tried, trials.most)
        graph = self._encodings.one(part, names)
        return self._judge.grade(part, graph, lambda *_: None).use


def _noise(part: str, layer: Layer) -> float:
    return layer.tensorrt_noise if part == bundle.TENSORRT_GRAPH else layer.cpu_noise


def _graphs(calibrated: Calibrated) -> dict[str, onnx.ModelProto]:
    graphs = {bundle.PORTABLE_GRAPH: calibrated.cpu}
    if calibrated.tensorrt is not None:
        graphs[bundle.TENSORRT_GRAPH] = calibrated.tensorrt
    return graphs


def _grade(judge: Judge, calibrated: Calibrated, progress: Progress) -> dict[str, Graded]:
    return {part: judge.grade(part, graph, progress) for part, graph in _graphs(calibrated).items()}


def _held(graded: Mapping[str, Graded]) -> bool:
    return all(found.held for found in graded.values())


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
