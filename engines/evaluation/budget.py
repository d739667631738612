"""How much of the float model's accuracy INT8 may cost, and whether it costs less."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edge.detector.bundle import Tolerance
from engines.evaluation.accuracy import CONFIDENT
from engines.evaluation.average_precision import POINTS
from engines.evaluation.places import wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from engines.evaluation.accuracy import Followed, Grade
    from engines.evaluation.average_precision import AveragePrecision
    from engines.evaluation.promise import Promise

FEW = 30
"""Confident detections below which a verdict is said to rest on few."""
_MANY = 50
"""Annotated objects of a label from which on its average precision says something by itself."""
_BLIND = 0.1
"""AP50 below which a float model is fed wrongly, or the annotations are of something else."""
_Z = 1.96
"""Normal quantile of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Budget:
    """The limits; what all detections are held to is what a device holds its golden frames to."""

    max_score_shift: float = 0.02
    """Mean absolute, over detections of a float score >= `CONFIDENT`."""
    max_map_drop: float = 0.5
    """Points (hundredths) of mAP50-95 and of AP50, where images are annotated."""
    kept: float = 0.97
    """Share of confident detections that must be kept, and that must be expected."""
    label_kept: float = 0.9
    """Of any one label's."""
    promise: float = 0.04
    """Share of the AP50 that float's scores promise, where nothing is annotated; see promise.py.
    Of measured AP50 a tenth to a half of that was lost."""
    label_drop: float = 2.0
    """Points of AP50 of any one label, where `_MANY` of its objects are annotated: a mean over
    labels hides it where others gain."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"Budget.{name}: expected a number of 0 or more, got {value}")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a graph was held to."""

    part: str
    """Which graph, as the bundle's file name."""
    what: str
    found: float
    limit: float
    held: bool
    rests_on: int
    """How many detections or objects the figure is made of."""
    use: float
    """Share of the limit that is used up: above 1 it is not held."""

    def __str__(self) -> str:
        """Return it as a line for people."""
        verb = "held" if self.held else "NOT held"
        return (
            f"{self.part}: {self.what} {self.found:.4g}, limit {self.limit:.4g}: {verb} "
            f"(on {self.rests_on})"
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether what was built may be shipped."""

    budget: Budget
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    allow_drop: bool
    """A missed budget was allowed, in so many words."""

    @property
    def held(self) -> bool:
        """Whether every check holds."""
        return all(check.held for check in self.checks)

    @property
    def missed(self) -> tuple[Check, ...]:
        """The checks that do not hold, the worst first."""
        return tuple(sorted((c for c in self.checks if not c.held), key=lambda c: -c.use))

    def also(self, checks: Sequence[Check]) -> Verdict:
        """Return the verdict with more checks in it."""
        return replace(self, checks=(*self.checks, *checks))

    def for_passport(self) -> dict[str, Any]:
        """Return plain values, rounded to what they are good for."""
        return {
            "held": self.held,
            "allow_drop": self.allow_drop,
            "limits": asdict(self.budget),
            "missed": [str(check) for check in self.missed],
            "warnings": list(self.warnings),
        }


def check(
    part: str,
    budget: Budget,
    grade: Grade,
    labels: Mapping[str, Grade],
    precision: tuple[AveragePrecision, AveragePrecision] | None,
) -> tuple[Check, ...]:
    """Hold a graph to the budget; `precision` is (float's, the graph's), with annotations."""
    confident, every, tolerance = grade.confident, grade.every, Tolerance()
    return (
        *_followed(part, f"detections of score >= {CONFIDENT}", confident, budget.kept),
        *_followed(part, "all detections", every, tolerance.kept),
        _at_most(
            part, "score shift of confident detections",
            confident.score_shift, budget.max_score_shift, confident.kept,
        ),
        _at_most(
            part, "score shift of all detections",
            every.score_shift, tolerance.mean_score_shift, every.kept,
        ),
        _at_most(
            part, "1 - mean IoU of all detections",
            1 - every.iou, 1 - tolerance.mean_iou, every.kept,
        ),
        *_labels(part, labels, budget.label_kept),
        *(_precision(part, budget, *precision) if precision else ()),
    )  # fmt: skip


def promised(part: str, budget: Budget, seen: Promise) -> Iterable[Check]:
    """Hold what is lost of the promise to its limit, where enough is promised to tell."""
    if seen.objects >= FEW:
        what = "share of the AP50 lost that float's scores promise"
        yield _at_most(part, what, seen.lost, budget.promise, int(seen.objects))


def worst_label(
    part: str,
    budget: Budget,
    precision: tuple[AveragePrecision, AveragePrecision],
    names: Sequence[str],
) -> Iterable[Check]:
    """Hold the label that loses most to its limit; `precision` is (float's, the graph's)."""
    reference, found = precision
    drops = {
        label: (before.ap50 - found.labels[label].ap50) * POINTS
        for label, before in reference.labels.items()
        if before.objects >= _MANY
    }
    if drops:
        worst = max(drops, key=lambda label: (drops[label], -label))
        what = f"points of AP50 lost of label {names[worst]}"
        limit = max(budget.label_drop, budget.max_map_drop)
        yield _at_most(part, what, max(0.0, drops[worst]), limit, reference.labels[worst].objects)


def warnings(confident: int, annotated: AveragePrecision | None, frames: str) -> tuple[str, ...]:
    """Return what the verdict cannot know; the counts are those of the float model."""
    if annotated is not None and annotated.objects >= FEW:
        return () if annotated.ap50 >= _BLIND else (_blind(annotated),)
    if confident >= FEW:
        return ()
    few = f"the verdict rests on {confident} confident detections in {frames}"
    return (f"{few}: give images that show more of what the model was trained on",)


def _blind(annotated: AveragePrecision) -> str:
    return (
        f"the float model itself has {annotated.ap50 * POINTS:.1f} points of AP50 on "
        f"{annotated.objects} annotated objects, so that INT8 has nothing to lose: check with "
        "--explain how it is fed, and the annotations' labels and boxes"
    )


def _followed(part: str, what: str, seen: Followed, kept: float) -> tuple[Check, Check]:
    return (
        _few(part, f"lost of {seen.reference} {what}", seen.lost, seen.reference, kept),
        _few(part, f"unexpected of {seen.found} {what}", seen.phantom, seen.found, kept),
    )


def _few(part: str, what: str, count: int, of: int, kept: float) -> Check:
    """Hold a count to the share 1 - `kept`; one is always allowed, or few could never be judged."""
    limit = max(1.0, math.floor((1 - kept) * of + 1e-9))
    # Half way to one too many is all of it: a count at its limit holds with room to spare.
    return Check(part, what, count, limit, count <= limit, of, count / (limit + 0.5))


def _at_most(part: str, what: str, found: float, limit: float, of: int) -> Check:
    use = found / limit if limit else math.inf * (found > 0)
    return Check(part, what, found, limit, found <= limit, of, use)


def _labels(part: str, labels: Mapping[str, Grade], kept: float) -> Iterable[Check]:
    """Yield a check for each label that certainly keeps less: 95 % interval, two lost at least."""
    for name, grade in labels.items():
        seen = grade.confident
        if seen.lost > 1 and wilson(seen.kept, seen.reference, _Z)[1] < kept:
            share = 1 - seen.kept / seen.reference
            yield Check(
                part, f"share lost of label {name}", share, 1 - kept, held=False,
                rests_on=seen.reference, use=share / (1 - kept),
            )  # fmt: skip


def _precision(
    part: str, budget: Budget, reference: AveragePrecision, found: AveragePrecision
) -> Iterable[Check]:
    for what, before, after in (
        ("mAP50-95", reference.map, found.map),
        ("AP50", reference.ap50, found.ap50),
    ):
        drop = (before - after) * POINTS
        yield _at_most(
            part, f"points of {what} lost", max(0.0, drop), budget.max_map_drop, found.objects
        )


def worst_labels(labels: Mapping[str, Grade], count: int = 3) -> Sequence[str]:
    """Return the labels that lose most, in words; those that lose nothing are left out."""
    worst = sorted(labels.items(), key=lambda item: (-_harm(item[1]), item[0]))[:count]
    return [
        f"{name} (lost {grade.confident.lost} of {grade.confident.reference}, score shift "
        f"{grade.confident.score_shift:.3f})"
        for name, grade in worst
        if _harm(grade) > 0
    ]


def _harm(grade: Grade) -> float:
    """Return how much a label loses in all, in scores: a lost one counts as one."""
    seen = grade.confident
    return seen.lost + seen.score_shift * seen.kept
