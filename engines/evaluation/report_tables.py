"""The tables of the report: what was found out, as the words and figures that stand there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge.detector.bundle import PORTABLE_GRAPH, TENSORRT_GRAPH
from engines.evaluation.average_precision import POINTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engines.evaluation.average_precision import AveragePrecision
    from engines.evaluation.evaluated import Evaluated, Graded
    from engines.evaluation.report_layers import Inside

_NOISIEST = 8
_NONE = "-"


@dataclass(frozen=True, slots=True)
class Part:
    """How one INT8 graph is called and drawn."""

    file: str
    name: str
    style: str


PARTS = {
    PORTABLE_GRAPH: Part(PORTABLE_GRAPH, "CPU", "cpu"),
    TENSORRT_GRAPH: Part(TENSORRT_GRAPH, "TensorRT", "tensorrt"),
}


def verdict(evaluated: Evaluated) -> dict[str, Any]:
    """Return the one sentence that says what was checked and whether it held."""
    judged = evaluated.verdict
    worst = min(evaluated.graded.values(), key=_share_kept)
    confident = worst.grade.confident
    who = "both graphs keep" if len(evaluated.graded) > 1 else "the graph keeps"
    least = "at least " if len(evaluated.graded) > 1 else ""
    count = f"{least}{confident.kept} of" if confident.lost else "all of"
    kept = (
        f"on {evaluated.held_out.told}, {who} {count} the float model's "
        f"{confident.reference} confident detections"
    )
    if judged.held:
        word, said = "INT8 holds its accuracy budget:", f"{kept}, and every check below holds."
    else:
        word = "INT8 does NOT hold its accuracy budget:"
        said = f"{kept}; {len(judged.missed)} of {len(judged.checks)} checks are missed."
        if judged.allow_drop:
            said += " It was built all the same, as --allow-drop asked for."
    return {
        "word": word,
        "sentence": said,
        "style": "held" if judged.held else "missed",
        "notes": [*map(str, judged.missed), *judged.warnings],
    }


def _share_kept(seen: Graded) -> float:
    confident = seen.grade.confident
    return confident.kept / confident.reference if confident.reference else 1.0


def summary(evaluated: Evaluated) -> list[dict[str, Any]]:
    """Return the rows of the first table."""
    graded = list(evaluated.graded.values())
    rows: list[tuple[str, str, list[str]]] = []
    reference = evaluated.precision
    if reference is not None:
        for what, value in (("mAP50-95", "map"), ("AP50", "ap50")):
            rows.append(
                (what, _points(reference, value), [_points(g.precision, value) for g in graded])
            )
    grades = [g.grade for g in graded]
    rows += [
        (
            "confident detections kept",
            "",
            [f"{g.confident.kept} of {g.confident.reference}" for g in grades],
        ),
        ("all detections kept", "", [f"{g.every.kept} of {g.every.reference}" for g in grades]),
        (
            "detections that float lacks",
            "",
            [f"{g.every.phantom} of {g.every.found}" for g in grades],
        ),
        ("mean IoU", "", [f"{g.every.iou:.3f}" for g in grades]),
        ("score shift, confident", "", [f"{g.confident.score_shift:.4f}" for g in grades]),
        ("score shift, all", "", [f"{g.every.score_shift:.4f}" for g in grades]),
        (
            "of the AP50 that float's scores promise",
            "",
            [f"{1 - seen.promise.lost:.1%}" for seen in graded],
        ),
    ]
    return [{"what": what, "by_float": f, "cells": cells} for what, f, cells in rows]


def _points(found: AveragePrecision | None, name: str) -> str:
    return _NONE if found is None else f"{getattr(found, name) * POINTS:.1f}"


def checks(evaluated: Evaluated) -> list[dict[str, Any]]:
    """Return what each graph was held to, what is missed first."""
    return [
        {
            "part": PARTS[check.part].name if check.part in PARTS else check.part,
            "what": check.what,
            "found": f"{check.found:.3g}",
            "limit": f"{check.limit:.3g}",
            "held": check.held,
            "rests_on": check.rests_on,
        }
        for check in sorted(evaluated.verdict.checks, key=lambda check: check.held)
    ]


def label_tables(evaluated: Evaluated, labels: Sequence[str]) -> list[dict[str, Any]]:
    """Return, for each INT8 graph, one row per label that was found or is annotated.

    The most frequent first, in the same order for every graph.
    """
    return [
        {"title": PARTS[part].name, "rows": _label_rows(evaluated.precision, seen, labels)}
        for part, seen in evaluated.graded.items()
    ]


def _label_rows(
    reference: AveragePrecision | None, seen: Graded, labels: Sequence[str]
) -> list[dict[str, Any]]:
    places = {name: index for index, name in reversed(list(enumerate(labels)))}
    names = set(seen.labels) | {labels[i] for i in (reference.labels if reference else ())}
    rows = []
    for name in names:
        every = seen.labels[name].every if name in seen.labels else None
        count = every.reference if every else 0
        rows.append(
            {
                "name": name,
                "reference": count,
                "kept": f"{every.kept / count:.0%}" if every and count else _NONE,
                "shift": f"{every.score_shift:.3f}" if every and every.kept else _NONE,
                "ap50": _label_ap50(seen.precision, places[name]),
                "float_ap50": _label_ap50(reference, places[name]),
            }
        )
    return sorted(rows, key=lambda row: (-row["reference"], row["name"]))


def _label_ap50(found: AveragePrecision | None, label: int) -> str:
    known = found.labels.get(label) if found else None
    return _NONE if known is None else f"{known.ap50 * POINTS:.1f}"


def layer_table(evaluated: Evaluated, part: str, inside: Inside) -> dict[str, Any]:
    """Return what runs in INT8, what a search left in float, and where most noise comes from."""
    said = f"{inside.integer} of {inside.convolutions} convolutions run in INT8."
    found = evaluated.searched.get(part)
    if found is not None:
        said += f" The search tried {found.tried} encodings on these images and left "
        said += f"{len(found.layers)} in float"
        said += f"; it ended early {found.stopped}." if found.stopped else "."
    kept = sorted(found.layers if found else (), key=lambda layer: -(layer.cost or 0.0))
    worst = sorted({x.name: x for x in inside.layers}.values(), key=lambda x: (-x.noise, x.name))
    most = worst[0].noise if worst and worst[0].noise else 1.0
    return {
        "title": PARTS[part].name,
        "said": said,
        "style": PARTS[part].style,
        "kept": [
            {
                "name": layer.name,
                "share": f"{layer.share:.1%}",
                "cost": _NONE if layer.cost is None else f"{layer.cost:.0%}",
                "saves": _NONE if layer.milliseconds is None else f"{layer.milliseconds:.2f} ms",
            }
            for layer in kept
        ],
        "noisiest": [
            {
                "name": layer.name,
                "noise": f"{layer.noise:.2%}",
                "width": round(100 * layer.noise / most, 1),
            }
            for layer in worst[:_NOISIEST]
        ],
    }
