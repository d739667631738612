"""`report.html`: what a person looks at before a bundle goes into service.

One file that needs no network and no script. Names come from model files and folders that others
made: everything is escaped, and the page's own policy forbids whatever would slip through.
"""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
from markupsafe import Markup

from edge.detector.golden import FLOAT
from engines.evaluation import report_charts as charts
from engines.evaluation import report_places as places
from engines.evaluation import report_tables as tables
from engines.evaluation.accuracy import THRESHOLD, detections
from engines.evaluation.report_layers import look_inside
from engines.evaluation.report_pictures import map_picture, worst_frames

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edge.detections import Detections
    from edge.detector.bundle import Passport
    from engines.evaluation.evaluated import Evaluated
    from engines.evaluation.location import Location
    from engines.evaluation.report_layers import Inside

    Pairs = list[tuple[Detections, Detections]]

_CHARTED = 64
"""Frames that the curves over thresholds are made of, spread over all."""


def write(path: Path, evaluated: Evaluated, where: Location, passport: Passport) -> None:
    """Write the report; the same inputs give the same bytes but for what was timed."""
    path.write_text(render(evaluated, where, passport), encoding="utf-8")


def render(evaluated: Evaluated, where: Location, passport: Passport) -> str:
    """Return the page."""
    environment = _environment()
    style = environment.get_template("report.css").render()
    digest = hashlib.sha256(style.encode()).digest()
    inside = _look_inside(evaluated)
    return environment.get_template("report.html.j2").render(
        style=Markup(style),  # noqa: S704 - ours, no input goes into it
        style_hash=base64.b64encode(digest).decode("ascii"),
        passport=passport,
        passport_json=passport.model_dump_json(by_alias=True, indent=1),
        facts=_facts(passport),
        frame_count=len(evaluated.held_out.frames),
        frames_told=evaluated.held_out.told,
        annotated=evaluated.precision is not None,
        parts=[tables.PARTS[part] for part in evaluated.graded],
        threshold=THRESHOLD,
        verdict=tables.verdict(evaluated),
        summary=tables.summary(evaluated),
        checks=tables.checks(evaluated),
        label_tables=tables.label_tables(evaluated, passport.labels),
        time=_time(evaluated.speed),
        **_detections(evaluated, passport),
        **_places(evaluated, where),
        **_layers(evaluated, inside),
        maps=_maps(inside),
    )


def _environment() -> jinja2.Environment:
    return jinja2.Environment(
        loader=jinja2.PackageLoader("engines.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _pairs(evaluated: Evaluated) -> dict[str, Pairs]:
    """Return (float, INT8) detections of every frame, by part."""
    height, width, _ = evaluated.held_out.frames[0].shape
    found = {part: detections(raw, (width, height)) for part, raw in evaluated.raw.items()}
    return {
        part: list(zip(found[FLOAT], seen, strict=True))
        for part, seen in found.items()
        if part != FLOAT
    }


def _detections(evaluated: Evaluated, passport: Passport) -> dict[str, Any]:
    pairs = _pairs(evaluated)
    first = next(iter(pairs))
    frames = evaluated.held_out.frames
    some = np.unique(np.linspace(0, len(frames) - 1, _CHARTED).round().astype(int))
    named = [(tables.PARTS[part].name, tables.PARTS[part].style, p) for part, p in pairs.items()]
    fewer = [(name, style, [p[i] for i in some]) for name, style, p in named]
    drawn = [*charts.agreement_charts(fewer), charts.shift_chart(named)]
    if evaluated.precision is not None:
        curves = [("float", "float", evaluated.precision.curve)]
        for part, seen in evaluated.graded.items():
            if seen.precision is not None:
                shown = tables.PARTS[part]
                curves.append((shown.name, shown.style, seen.precision.curve))
        drawn.insert(0, charts.precision_recall_chart(curves))
    legend = [(f"INT8, {name}", style) for name, style, _ in named]
    return {
        "detection_charts": drawn,
        "legend": [("float", "float"), *legend] if evaluated.precision is not None else legend,
        "worst_frames": worst_frames(frames, pairs[first], passport.labels, passport.input.pad),
    }


def _places(evaluated: Evaluated, where: Location) -> dict[str, Any]:
    said = (
        "A thing must be found on the left as on the right, on the top shelf as on the bottom one. "
        "What float finds in an image is looked for again after the image was moved, zoomed, "
        "dimmed, blurred and compressed; what the edge cuts off is left out. "
    )
    if evaluated.precision is None:
        said += "With --annotations the annotated objects are counted by place, too."
    return {
        "places_intro": said,
        "heat_maps": places.heat_maps(where),
        "change_tables": places.change_tables(where),
    }


def _look_inside(evaluated: Evaluated) -> dict[str, Inside]:
    held = evaluated.held_out
    busiest = int((held.raw.scores >= THRESHOLD).sum(axis=1).argmax())
    graphs = {part: evaluated.graphs[part] for part in evaluated.graded}
    return look_inside(evaluated.graphs[FLOAT], graphs, held.frames[busiest])


def _layers(evaluated: Evaluated, inside: Mapping[str, Inside]) -> dict[str, Any]:
    named = [
        (tables.PARTS[part].name, tables.PARTS[part].style, seen.layers)
        for part, seen in inside.items()
    ]
    return {
        "layer_legend": [(f"INT8, {name}", style) for name, style, _ in named],
        "layer_charts": [
            charts.noise_chart(named),
            *(charts.range_chart(name, style, layers) for name, style, layers in named),
        ],
        "layer_tables": [tables.layer_table(evaluated, part, x) for part, x in inside.items()],
    }


def _maps(inside: Mapping[str, Inside]) -> list[dict[str, Any]]:
    """Return the first graph's feature maps: the encodings differ by less than can be seen."""
    drawn = [map_picture(shown) for shown in next(iter(inside.values())).maps]
    return [
        {"name": m.name, "noise": f"{m.noise:.2%}", "picture": m.picture,
         "width": m.width, "height": m.height}
        for m in drawn
    ]  # fmt: skip


def _time(speed: Mapping[str, Any]) -> str:
    threads = speed["threads"]
    return (
        f"One frame at {threads} thread{'' if threads == 1 else 's'} of {speed['cpu']}, in ONNX "
        f"Runtime, taking turns: float {speed['float_ms']:.1f} ms, INT8 for the CPU "
        f"{speed['int8_ms']:.1f} ms; INT8 takes {speed['int8_to_float']:.0%} of float's time. True "
        "of the machine that built it; edge bench measures the one that runs it."
    )


def _facts(passport: Passport) -> list[tuple[str, str]]:
    """Return what people ask a passport first."""
    spec, source = passport.input, passport.source
    images = passport.calibration.get("images", {})
    facts = [
        ("model", f"{source.get('file', 'unknown')}, sha256 {source.get('sha256', 'unknown')}"),
        ("family", passport.family),
        ("recognised by", "; ".join(source.get("recognised", ()))),
        ("input", f"{spec.width}x{spec.height}, letterbox {spec.letterbox}, grey {spec.pad}"),
        ("labels", ", ".join(passport.labels)),
        ("score threshold", f"{passport.thresholds.default:g}"),
        ("NMS", f"IoU above {passport.iou:g} is one object; at most {passport.max_detections}"),
        ("largest batch", str(passport.max_batch)),
        ("images", ", ".join(f"{n} {what.replace('_', ' ')}" for what, n in images.items())),
    ]
    return [*facts, *((f"sha256 of {name}", value) for name, value in passport.files.items())]
