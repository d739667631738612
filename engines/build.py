"""A build, step by step: inspect, adapt, choose images, calibrate, evaluate, write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.detector import bundle
from edge.detector.golden import FLOAT, hold_to_golden
from edge.detector.onnxruntime import OnnxRuntime
from engines import contract, golden, images
from engines.batch import MAX_BATCH
from engines.bundle_directory import directory_for, refuse_existing
from engines.evaluation import accuracy, coco, held_out, speed
from engines.evaluation.accuracy import THRESHOLD
from engines.evaluation.evaluated import Evaluated
from engines.gate import Gate, pass_gate

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from calibration.quantise import Calibrated
    from engines.evaluation.average_precision import AveragePrecision
    from engines.gate import Passed
    from engines.inspection import Adapted
    from engines.search import Searched

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
    refuse_existing(out)
    gate = gate or Gate()
    annotated = []
    if gate.annotations is not None:
        annotated = coco.read(gate.annotations, given, adapted.labels)
    chosen = images.select(given, adapted.input, progress)
    chosen, held = held_out.choose(adapted, chosen, annotated, progress)
    passed = pass_gate(adapted, chosen, held, gate, progress)
    evaluated = _evaluated(adapted, passed, progress)
    with directory_for(out) as folder:
        _write(folder, adapted, passed.calibrated, chosen, evaluated)
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
        speed=speed.time_against(adapted.graph, graphs[bundle.PORTABLE_GRAPH], held.frames),
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
    calibrated: Calibrated,
    chosen: images.Selection,
    evaluated: Evaluated,
) -> None:
    for part, graph in evaluated.graphs.items():
        if part != FLOAT:
            (folder / part).write_bytes(graph.SerializeToString(deterministic=True))
    kept = golden.choose(evaluated.raw[FLOAT], THRESHOLD)
    golden.write(folder / bundle.GOLDEN, evaluated.held_out.frames, kept, evaluated.raw)
    source = adapted.network.source
    passport = bundle.Passport(
        name=adapted.order.name,
        version=adapted.order.version,
        family=adapted.family.name,
        input=adapted.input,
        labels=adapted.labels,
        iou=1.0 if adapted.iou is None else adapted.iou,
        max_detections=contract.slots_of(adapted.graph),
        max_batch=MAX_BATCH if adapted.network.batched else 1,
        files={file.name: bundle.sha256_of(file) for file in sorted(folder.iterdir())},
        calibration={"images": chosen.summary(), **calibrated.report},
        accuracy=_accuracy(adapted, evaluated),
        source={
            "file": adapted.order.model.name,
            "sha256": source.sha256,
            "producer": source.model.producer_name,
            "recognised": list(adapted.recognised.evidence),
        },
    )
    text = passport.model_dump_json(by_alias=True, indent=2)
    (folder / bundle.PASSPORT).write_text(f"{text}\n", encoding="utf-8")


def _accuracy(adapted: Adapted, evaluated: Evaluated) -> dict[str, Any]:
    """Return what the passport says of the accuracy; nothing in it was timed."""
    told: dict[str, Any] = {
        "held_out_frames": len(evaluated.held_out.frames),
        "threshold": THRESHOLD,
        "budget": evaluated.verdict.for_passport(),
    }
    if evaluated.precision is not None:
        told[FLOAT] = _average(adapted, evaluated.precision)
    for part, seen in evaluated.graded.items():
        told[part] = accuracy.for_passport(seen.grade, seen.labels)
        if seen.precision is not None:
            told[part]["average_precision"] = _average(adapted, seen.precision)
        if part in evaluated.searched:
            told[part]["search"] = evaluated.searched[part].for_passport()
    return told


def _average(adapted: Adapted, found: AveragePrecision) -> dict[str, Any]:
    return {
        "map": round(found.map, 5),
        "ap50": round(found.ap50, 5),
        "images": found.images,
        "objects": found.objects,
        "labels": {
            adapted.labels[label]: {
                "map": round(seen.map, 5), "ap50": round(seen.ap50, 5), "objects": seen.objects,
            }
            for label, seen in found.labels.items()
        },
    }  # fmt: skip


def _shape(spec: bundle.InputSpec) -> tuple[int, int, int]:
    return spec.height, spec.width, 3
