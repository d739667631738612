"""A build, step by step: inspect, adapt, choose images, calibrate, evaluate, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.detector import bundle
from edge.detector.golden import FLOAT, hold_to_golden
from edge.detector.onnxruntime import OnnxRuntime
from engines import golden, images
from engines.bundle_directory import directory_for, refuse_unwritable
from engines.evaluation import coco, held_out, report, speed
from engines.evaluation.accuracy import THRESHOLD
from engines.evaluation.evaluated import Evaluated
from engines.gate import Gate, pass_gate
from engines.passport import passport_of
from engines.portable import portable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from engines.evaluation.location import Location
    from engines.gate import Passed
    from engines.inspection import Adapted
    from engines.search.layers import Searched

    Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle that was written and checked, and what is only true of the machine it was built on.

    The same inputs give the same bundle, byte for byte: what was timed is not in its hashed files.
    """

    bundle: bundle.Bundle
    evaluated: Evaluated


def build(
    adapted: Adapted, given: list[Path], out: Path, progress: Progress, gate: Gate | None = None
) -> Built:
    """Calibrate, hold to the accuracy budget and write the bundle; where that fails, nothing.

    Raises `BuildError` for what cannot be built from, `DetectsNothing` for a model that is blind
    itself and `BudgetError` for graphs that miss the budget.
    """
    refuse_unwritable(out)
    gate = gate or Gate()
    annotated = []
    if gate.annotations is not None:
        annotated = coco.read(gate.annotations, given, adapted.labels)
    chosen = images.select(given, adapted.input, progress)
    chosen, held = held_out.choose(adapted, chosen, annotated, progress)
    passed = pass_gate(adapted, chosen, held, gate, progress)
    evaluated = _evaluated(adapted, passed, progress)
    with directory_for(out) as folder:
        calibration = {"images": chosen.summary(), **passed.calibrated.report}
        passport = _write(folder, adapted, calibration, evaluated, passed.where)
        progress(f"drawing {bundle.REPORT}", 0, 1)
        report.write(folder / bundle.REPORT, evaluated, passed.where, passport)
        written = bundle.load_bundle(folder)
        with OnnxRuntime(written.file(bundle.PORTABLE_GRAPH), _shape(adapted.input)) as runtime:
            hold_to_golden(written, runtime, bundle.PORTABLE_GRAPH)
    return Built(bundle.load_bundle(out), evaluated)


def _evaluated(adapted: Adapted, passed: Passed, progress: Progress) -> Evaluated:
    progress("timing", 0, 1)
    held, graphs = passed.judge.held_out, passed.graphs
    return Evaluated(
        held_out=held,
        precision=passed.judge.precision,
        graphs={FLOAT: adapted.graph, **graphs},
        graded=passed.graded,
        verdict=passed.verdict,
        searched=_timed(passed),
        speed=speed.time_against(
            portable(adapted.graph), graphs[bundle.PORTABLE_GRAPH], held.frames
        ),
    )


def _timed(passed: Passed) -> dict[str, Searched]:
    """Say what each layer that stays float32 would save in INT8; this machine knows its own."""
    searched = dict(passed.searched)
    if (found := searched.get(bundle.PORTABLE_GRAPH)) is not None and found.layers:
        frames = passed.judge.held_out.frames
        in_float = speed.convolution_ms(passed.calibrated.cpu, frames)
        in_int8 = speed.convolution_ms(passed.all_int8, frames)
        both = in_float.keys() & in_int8.keys()
        searched[found.part] = found.timed({name: in_float[name] - in_int8[name] for name in both})
    return searched


def _write(
    folder: Path,
    adapted: Adapted,
    calibration: dict[str, Any],
    evaluated: Evaluated,
    where: Location,
) -> bundle.Passport:
    """Write the graphs, the golden frames and the passport of them."""
    for part, graph in evaluated.graphs.items():
        if part != FLOAT:
            (folder / part).write_bytes(graph.SerializeToString(deterministic=True))
    kept = golden.choose(evaluated.raw[FLOAT], THRESHOLD)
    golden.write(folder / bundle.GOLDEN, evaluated.held_out.frames, kept, evaluated.raw)
    files = {file.name: bundle.sha256_of(file) for file in sorted(folder.iterdir())}
    passport = passport_of(adapted, calibration, evaluated, where, files)
    text = passport.model_dump_json(by_alias=True, indent=2)
    (folder / bundle.PASSPORT).write_text(f"{text}\n", encoding="utf-8")
    return passport


def _shape(spec: bundle.InputSpec) -> tuple[int, int, int]:
    return spec.height, spec.width, 3
