"""A build, step by step: inspect, adapt, choose images, calibrate, evaluate, write."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from calibration.quantise import quantise
from edge.detector import bundle
from edge.detector.golden import FLOAT, hold_to_golden
from edge.detector.onnxruntime import OnnxRuntime
from engines import contract, golden, images
from engines.batch import MAX_BATCH
from engines.bundle_directory import directory_for, refuse_existing
from engines.errors import BuildError
from engines.evaluation import accuracy, speed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from calibration.quantise import Calibrated
    from edge.detector.agreement import Agreement
    from edge.detector.runtime import RawDetections
    from edge.frame import Image
    from engines.inspection import Adapted

    Progress = Callable[[str, int, int], None]

THRESHOLD = bundle.Thresholds().default

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The graphs of a calibration, what each gives on the held-out frames, and how it agrees."""

    frames: list[Image]
    raw: dict[str, RawDetections]
    """By part; `float` is the reference."""
    graphs: dict[str, onnx.ModelProto]
    agreements: dict[str, Agreement]
    speed: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Built:
    """A bundle that was written and checked, and what is only true of the machine it was built on.

    The same inputs give the same bundle, byte for byte: what was timed is not in it.
    """

    bundle: bundle.Bundle
    speed: dict[str, Any]
    """INT8 and float milliseconds, threads, CPU."""


def build(adapted: Adapted, given: list[Path], out: Path, progress: Progress) -> Built:
    """Calibrate, evaluate and write the bundle; nothing is left behind where that fails."""
    refuse_existing(out)
    chosen = images.select(given, adapted.input, progress)
    calibrated = quantise(adapted.graph, chosen.calibration, progress=progress)
    evaluated = evaluate(adapted, calibrated, chosen, progress)
    with directory_for(out) as folder:
        _write(folder, adapted, calibrated, chosen, evaluated)
        written = bundle.load_bundle(folder)
        with OnnxRuntime(written.file(bundle.PORTABLE_GRAPH), _shape(adapted.input)) as runtime:
            hold_to_golden(written, runtime, bundle.PORTABLE_GRAPH)
    return Built(bundle.load_bundle(out), evaluated.speed)


def evaluate(
    adapted: Adapted, calibrated: Calibrated, chosen: images.Selection, progress: Progress
) -> Evaluated:
    """Hold each graph to the float model on frames that calibration has not seen.

    Raises `BuildError` where the float model or the INT8 graph detects nothing.
    """
    size = adapted.input.resolution_wh
    frames, reference = _frames_with_something(adapted, chosen, progress)
    graphs = {FLOAT: adapted.graph, bundle.PORTABLE_GRAPH: calibrated.cpu}
    if calibrated.tensorrt is not None:
        graphs[bundle.TENSORRT_GRAPH] = calibrated.tensorrt
    raw = {FLOAT: reference} | {
        part: _run(part, graph, frames, progress) for part, graph in graphs.items() if part != FLOAT
    }
    agreements = {
        part: accuracy.compare(raw[FLOAT], found, size, THRESHOLD)
        for part, found in raw.items()
        if part != FLOAT
    }
    _refuse_blind(adapted, agreements[bundle.PORTABLE_GRAPH])
    if not _tolerable(agreements.get(bundle.TENSORRT_GRAPH)):
        for part in (graphs, raw, agreements):
            part.pop(bundle.TENSORRT_GRAPH, None)
    progress("timing", 0, 1)
    timed = speed.time_against(adapted.graph, calibrated.cpu, frames)
    return Evaluated(frames, raw, graphs, agreements, timed)


def _run(
    part: str, graph: onnx.ModelProto, frames: list[Image], progress: Progress
) -> RawDetections:
    return accuracy.run_graph(
        graph, frames, lambda done, total: progress(f"evaluating {part}", done, total)
    )


def _frames_with_something(
    adapted: Adapted, chosen: images.Selection, progress: Progress
) -> tuple[list[Image], RawDetections]:
    """Return the held-out frames and what the float model gives on them.

    Where it detects nothing on these, the others are added, so that a sparse scene can be built on.
    """
    for frames in (chosen.held_out, [*chosen.held_out, *chosen.calibration]):
        raw = _run(FLOAT, adapted.graph, frames, progress)
        if (raw.scores >= THRESHOLD).any():
            return frames, raw
        _log.warning("the float model detects nothing on %d frames", len(frames))
    raise BuildError(
        f"model {adapted.order.model} detects nothing above {THRESHOLD} on any of {len(frames)} "
        "images",
        "give images that show what it was trained on, and check with --explain that it is fed as "
        "it was trained",
    )


def _refuse_blind(adapted: Adapted, agreed: Agreement) -> None:
    if not agreed.found:
        raise BuildError(
            f"the INT8 graph of {adapted.order.model} detects nothing, where the float model has "
            f"{agreed.reference} detections",
            "give more images, of the cameras that will use it, to calibrate on",
        )


def _tolerable(agreed: Agreement | None) -> bool:
    """Return whether the TensorRT graph may be shipped; say so where it may not."""
    if agreed is None:
        return False
    allowed = bundle.Tolerance()
    good = (
        agreed.recall >= allowed.kept
        and agreed.precision >= allowed.kept
        and agreed.mean_iou >= allowed.mean_iou
        and agreed.mean_score_shift <= allowed.mean_score_shift
    )
    if not good:
        _log.warning(
            "%s is left out: it keeps %.3f of the float model's detections, mean IoU %.3f, score "
            "shift %.3f",
            bundle.TENSORRT_GRAPH,
            agreed.recall,
            agreed.mean_iou,
            agreed.mean_score_shift,
        )
    return good


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
    golden.write(folder / bundle.GOLDEN, evaluated.frames, kept, evaluated.raw)
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
        accuracy={
            "held_out_frames": len(evaluated.frames),
            "threshold": THRESHOLD,
            **{part: accuracy.for_passport(a) for part, a in evaluated.agreements.items()},
        },
        source={
            "file": adapted.order.model.name,
            "sha256": source.sha256,
            "producer": source.model.producer_name,
            "recognised": list(adapted.recognised.evidence),
        },
    )
    text = passport.model_dump_json(by_alias=True, indent=2)
    (folder / bundle.PASSPORT).write_text(f"{text}\n", encoding="utf-8")


def _shape(spec: bundle.InputSpec) -> tuple[int, int, int]:
    return spec.height, spec.width, 3
