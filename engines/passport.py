"""What `bundle.json` says of a build; nothing in it was timed, so it is the same every time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.detector import bundle
from edge.detector.golden import FLOAT
from engines import contract
from engines.evaluation.accuracy import THRESHOLD, for_passport
from engines.reading.batch import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Mapping

    from engines.evaluation.average_precision import AveragePrecision
    from engines.evaluation.evaluated import Evaluated
    from engines.evaluation.location import Location
    from engines.inspection import Adapted


def passport_of(
    adapted: Adapted,
    calibration: dict[str, Any],
    evaluated: Evaluated,
    where: Location,
    files: Mapping[str, str],
) -> bundle.Passport:
    """Return the passport; `files` is file name to sha256."""
    source = adapted.network.source
    return bundle.Passport(
        name=adapted.order.name,
        version=adapted.order.version,
        family=adapted.family.name,
        input=adapted.input,
        labels=adapted.labels,
        iou=1.0 if adapted.iou is None else adapted.iou,
        max_detections=contract.slots_of(adapted.graph),
        max_batch=MAX_BATCH if adapted.network.batched else 1,
        files=dict(files),
        calibration=calibration,
        accuracy={**_accuracy(adapted, evaluated), "location": where.for_passport()},
        source={
            "file": adapted.order.model.name,
            "sha256": source.sha256,
            "producer": source.model.producer_name,
            "recognised": list(adapted.recognised.evidence),
            "nms": adapted.suppression(),
        },
    )


def _accuracy(adapted: Adapted, evaluated: Evaluated) -> dict[str, Any]:
    told: dict[str, Any] = {
        "held_out_frames": len(evaluated.held_out.frames) - evaluated.held_out.views,
        "views": evaluated.held_out.views,
        "threshold": THRESHOLD,
        "budget": evaluated.verdict.for_passport(),
    }
    if evaluated.precision is not None:
        told[FLOAT] = _average(adapted, evaluated.precision)
    for part, seen in evaluated.graded.items():
        told[part] = for_passport(seen.grade, seen.labels)
        told[part]["promised_ap50"] = seen.promise.for_passport()
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
