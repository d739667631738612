"""What a build came to, for the person who ran it."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from edge.detector.golden import FLOAT
from engines.evaluation.average_precision import POINTS

if TYPE_CHECKING:
    from engines.build import Built
    from engines.evaluation.average_precision import AveragePrecision
    from engines.evaluation.evaluated import Evaluated, Graded
    from engines.search.layers import Searched

_SHOWN = 12
"""Layers in the table."""
_WIDTH = 120
"""Where the output is no terminal."""


def print_result(built: Built) -> None:
    """Print the verdict, what each graph keeps, what stays float32 and why, and the next step."""
    evaluated, passport = built.evaluated, built.bundle.passport
    for found in evaluated.searched.values():
        print_table(found)
    if evaluated.precision is not None:
        print(f"{FLOAT}: {_average(evaluated.precision)}")
    for seen in evaluated.graded.values():
        _print_graded(seen, evaluated.held_out.told)
    _print_verdict(evaluated)
    timed = evaluated.speed
    print(
        f"time at {timed['threads']} thread: INT8 {timed['int8_ms']} ms, float "
        f"{timed['float_ms']} ms, ratio {timed['int8_to_float']} ({timed['cpu']})"
    )
    print(
        f"wrote {built.bundle.path}: {passport.name} {passport.version}; try: "
        f"edge verify {built.bundle.path}"
    )


def print_table(found: Searched) -> None:
    """Print the layers that stay float32: what each costs in INT8, and what it would buy."""
    print(
        f"{found.part}: {len(found.layers)} layers stay float32, {found.share:.1%} of the "
        f"multiplications; {found.tried} encodings tried"
    )
    table = Table(box=None, pad_edge=False)
    for name in ("layer", "multiplications", "noise", "costs of the limit", "INT8 would save"):
        table.add_column(name, justify="left" if name == "layer" else "right", no_wrap=True)
    worst = sorted(found.layers, key=lambda layer: -(layer.cost or 0.0))
    for layer in worst[:_SHOWN]:
        table.add_row(
            _short(layer.name),
            f"{layer.share:.1%}",
            f"{layer.noise:.4f}",
            "-" if layer.cost is None else f"{layer.cost:+.0%}",
            "-" if layer.milliseconds is None else f"{layer.milliseconds:.2f} ms",
        )
    Console(width=None if sys.stdout.isatty() else _WIDTH).print(table)
    if len(worst) > _SHOWN:
        print(f"and {len(worst) - _SHOWN} more, listed in the passport")
    if found.stopped:
        print(f"{found.part}: the search ended {found.stopped}")


def _short(name: str) -> str:
    """Return a tensor's name without what every exporter puts round a convolution's."""
    return re.sub(r"^/|(/conv)?/Conv_output_0$", "", name)


def _print_graded(seen: Graded, frames: str) -> None:
    agreed, sure = seen.grade.agreement, seen.grade.confident
    left = 1 - seen.promise.lost
    print(
        f"{seen.part}: on {frames} {agreed.matched} of {agreed.reference} float "
        f"detections kept ({agreed.recall:.3f}), precision {agreed.precision:.3f}, IoU "
        f"{agreed.mean_iou:.3f}; of {sure.reference} confident ones {sure.kept} kept, score shift "
        f"{sure.score_shift:.4f}; {left:.3f} of the AP50 that float's scores promise"
    )
    if seen.precision is not None:
        print(f"{seen.part}: {_average(seen.precision)}")


def _average(found: AveragePrecision) -> str:
    return (
        f"mAP50-95 {found.map * POINTS:.1f}, AP50 {found.ap50 * POINTS:.1f} points on "
        f"{found.objects} objects in {found.images} images"
    )


def _print_verdict(evaluated: Evaluated) -> None:
    verdict = evaluated.verdict
    if verdict.held:
        tightest = max(verdict.checks, key=lambda check: check.use)
        print(f"accuracy budget held; tightest: {tightest}")
    for check in verdict.missed:
        print(f"warning: allowed by --allow-drop: {check}", file=sys.stderr)
    for warning in verdict.warnings:
        print(f"warning: {warning}", file=sys.stderr)
