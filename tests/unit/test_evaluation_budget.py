"""The budget as a table: what is held, what is missed, and on how much the verdict rests."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edge.detector.agreement import Agreement
from engines.evaluation import budget
from engines.evaluation.accuracy import Followed, Grade, grade, grade_by_label
from engines.evaluation.average_precision import AveragePrecision, LabelPrecision
from engines.evaluation.budget import Budget, Verdict, check, worst_labels
from engines.evaluation.promise import Promise
from tests.raw import raw_detections

PERFECT = Followed(reference=100, kept=100, found=100, expected=100, score_shift=0.0, iou=1.0)
AGREED = Agreement(100, 100, 100, 1.0, 0.0, 0.0, 0.0)


def grades(confident=None, every=None):
    changed = (confident or {}, every or {})
    both = (dataclasses.replace(PERFECT, **change) for change in changed)
    return Grade(AGREED, *reversed(list(both)))


def missed(seen, labels=None, precision=None, limits=None):
    checks = check("model.onnx", limits or Budget(), seen, labels or {}, precision)
    return [found.what for found in checks if not found.held]


@pytest.mark.parametrize(
    ("confident", "every", "what"),
    [
        ({}, {}, []),
        ({"score_shift": 0.02}, {}, []),
        ({"score_shift": 0.0201}, {}, ["score shift of confident detections"]),
        ({"kept": 97}, {}, []),
        ({"kept": 96}, {}, ["lost of 100 detections of score >= 0.5"]),
        ({"expected": 96}, {}, ["unexpected of 100 detections of score >= 0.5"]),
        ({}, {"kept": 90}, []),
        ({}, {"kept": 89}, ["lost of 100 all detections"]),
        ({}, {"expected": 89}, ["unexpected of 100 all detections"]),
        ({}, {"iou": 0.89}, ["1 - mean IoU of all detections"]),
        ({}, {"score_shift": 0.051}, ["score shift of all detections"]),
        ({"reference": 3, "kept": 2}, {}, []),
        ({"reference": 3, "kept": 1}, {}, ["lost of 3 detections of score >= 0.5"]),
        ({"reference": 0, "kept": 0, "found": 0, "expected": 0}, {}, []),
    ],
)
def test_what_is_held_and_what_is_missed(confident, every, what):
    assert missed(grades(confident, every)) == what


@pytest.mark.parametrize(
    ("kept", "of", "refused"),
    [(0, 1, False), (0, 2, True), (4, 6, False), (12, 20, True), (18, 20, False), (95, 100, False)],
)
def test_a_label_is_refused_where_it_certainly_loses_more(kept, of, refused):
    seen = {"can": grades({"reference": of, "kept": kept})}

    assert missed(grades(), seen) == (["share lost of label can"] if refused else [])


def precisions(drop_map, drop_ap50):
    return tuple(
        AveragePrecision(0.5 - x, 0.8 - y, 10, {}, np.zeros(101))
        for x, y in ((0, 0), (drop_map, drop_ap50))
    )


@pytest.mark.parametrize(
    ("drops", "what"),
    [
        ((0.004, 0.004), []),
        ((0.006, 0.0), ["points of mAP50-95 lost"]),
        ((0.0, 0.006), ["points of AP50 lost"]),
        ((-0.1, -0.1), []),
    ],
)
def test_mean_average_precision_may_drop_half_a_point(drops, what):
    assert missed(grades(), precision=precisions(*drops)) == what


@pytest.mark.parametrize(
    ("objects", "lost", "what"),
    [
        (100, 0.04, []),
        (100, 0.041, ["share of the AP50 lost that float's scores promise"]),
        (29, 0.5, []),
    ],
)
def test_an_order_of_scores_that_false_alarms_disturb_is_missed(objects, lost, what):
    checks = budget.promised("model.onnx", Budget(), Promise(objects, lost))

    assert [check.what for check in checks if not check.held] == what


def of_labels(**ap50):
    labels = {
        number: LabelPrecision(0.5, score, objects)
        for number, (score, objects) in enumerate(ap50.values())
    }
    return AveragePrecision(0.5, 0.8, 10, labels, np.zeros(101))


@pytest.mark.parametrize(
    ("can", "crate", "what"),
    [
        ((0.781, 50), (0.95, 50), []),
        ((0.779, 50), (0.95, 50), ["points of AP50 lost of label can"]),
        ((0.779, 50), (0.70, 80), ["points of AP50 lost of label crate"]),
        ((0.779, 49), (0.95, 50), []),
    ],
)
def test_a_label_may_not_lose_much_where_another_gains(can, crate, what):
    float_model = of_labels(can=(0.8, can[1]), crate=(0.9, crate[1]))
    found = of_labels(can=can, crate=crate)

    checks = budget.worst_label("model.onnx", Budget(), (float_model, found), ("can", "crate"))

    assert [check.what for check in checks if not check.held] == what


def test_who_allows_more_points_for_the_mean_allows_them_for_a_label():
    pair = (of_labels(can=(0.8, 50)), of_labels(can=(0.76, 50)))

    (found,) = budget.worst_label("model.onnx", Budget(max_map_drop=5), pair, ("can",))

    assert found.held


def test_a_budget_of_nothing_allows_nothing():
    limits = Budget(max_score_shift=0)

    assert missed(grades(), limits=limits) == []
    assert missed(grades({"score_shift": 1e-6}), limits=limits) == [
        "score shift of confident detections"
    ]


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
def test_a_budget_is_a_number_of_0_or_more(wrong):
    with pytest.raises(ValueError, match=r"Budget\.max_map_drop: expected a number of 0 or more"):
        Budget(max_map_drop=wrong)


def test_the_worst_miss_comes_first():
    seen = grades({"score_shift": 0.03, "kept": 50})
    verdict = Verdict(Budget(), check("model.onnx", Budget(), seen, {}, None), (), allow_drop=False)

    assert not verdict.held
    assert [found.found for found in verdict.missed] == [50, 0.03]
    assert str(verdict.missed[0]) == (
        "model.onnx: lost of 100 detections of score >= 0.5 50, limit 3: NOT held (on 100)"
    )


@pytest.mark.parametrize(("count", "warned"), [(0, True), (3, True), (29, True), (30, False)])
def test_a_verdict_on_few_detections_says_so(count, warned):
    said = budget.warnings(count, None, "20 held-out images")

    assert [
        f"rests on {count} confident detections in 20 held-out images" in text for text in said
    ] == ([True] if warned else [])


@pytest.mark.parametrize(("ap50", "warned"), [(0.0, True), (0.099, True), (0.1, False)])
def test_a_float_model_that_finds_nothing_of_what_is_annotated_is_said_so(ap50, warned):
    found = AveragePrecision(ap50, ap50, 9, {0: LabelPrecision(ap50, ap50, 30)}, np.zeros(101))

    said = budget.warnings(500, found, "9 held-out images")

    expected = [f"has {ap50 * 100:.1f} points of AP50 on 30 annotated objects"] if warned else []
    assert [text.partition("itself ")[2].partition(",")[0] for text in said] == expected


def test_the_labels_that_lose_most_are_named():
    labels = {
        "tin": grades({"score_shift": 0.01}),
        "box": grades({"reference": 10, "kept": 7}),
        "bag": grades(),
    }

    assert worst_labels(labels) == [
        "box (lost 3 of 10, score shift 0.000)",
        "tin (lost 0 of 100, score shift 0.010)",
    ]


BOX, ELSEWHERE = (10, 10, 30, 30), (40, 40, 60, 60)


@pytest.mark.parametrize(
    ("float_score", "int8_score", "every", "confident"),
    [
        (0.6, 0.55, (1, 1), (1, 1)),
        (0.6, 0.3, (1, 1), (1, 1)),
        (0.6, 0.2, (1, 1), (1, 0)),
        (0.6, 0.1, (1, 0), (1, 0)),
        (0.3, 0.2, (1, 1), (0, 0)),
        (0.2, 0.9, (0, 0), (0, 0)),
    ],
)
def test_a_detection_that_slips_below_the_threshold_is_a_shift(
    float_score, int8_score, every, confident
):
    seen = grade(
        raw_detections([(BOX, float_score, 0)]), raw_detections([(BOX, int8_score, 0)]), (64, 64)
    )

    assert (seen.every.reference, seen.every.kept) == every
    assert (seen.confident.reference, seen.confident.kept) == confident


def test_what_only_int8_sees_is_a_phantom():
    reference = raw_detections([(BOX, 0.9, 0)])
    found = raw_detections([(BOX, 0.9, 0), (ELSEWHERE, 0.8, 1)])

    seen = grade(reference, found, (64, 64))
    of_label = grade_by_label(reference, found, (64, 64))

    assert (seen.confident.phantom, seen.every.phantom) == (1, 1)
    assert {label: part.confident.phantom for label, part in of_label.items()} == {0: 0, 1: 1}
