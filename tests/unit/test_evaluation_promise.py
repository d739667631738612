"""What is left of the average precision that float's scores promise, without annotations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines.evaluation import accuracy
from engines.evaluation.budget import Budget
from engines.evaluation.evaluated import Judge
from engines.evaluation.held_out import HeldOut
from engines.evaluation.promise import chance, promise
from tests.raw import raw_detections

SIZE = (640, 640)


def quiet(*_):
    """Show no progress."""


def row(*scores, label=0, spacing=60):
    """Return as many boxes beside one another, with these scores."""
    return [
        ((spacing * i, 10, spacing * i + 40, 50), score, label) for i, score in enumerate(scores)
    ]


@pytest.mark.parametrize(("score", "share"), [(0.0, 0), (0.14, 0.1), (1 / 3, 0.5), (0.6, 0.9)])
def test_a_score_is_a_chance(score, share):
    assert chance(np.float32([score]))[0] == pytest.approx(share, abs=0.01)


@given(st.lists(st.floats(0.1, 0.99), min_size=1, max_size=8), st.floats(0.3, 1.0))
def test_scores_that_keep_their_order_lose_nothing(scores, factor):
    lower = row(*(score * factor for score in scores))

    found = promise(raw_detections(row(*scores)), raw_detections(lower), SIZE)

    assert found.lost == pytest.approx(0, abs=1e-4)


@given(
    st.lists(st.floats(0.05, 0.95), min_size=2, max_size=8),
    st.lists(st.floats(0.05, 0.95), min_size=8, max_size=8),
)
def test_no_order_is_better_than_floats(scores, others):
    found = promise(raw_detections(row(*scores)), raw_detections(row(*others[: len(scores)])), SIZE)

    assert -1e-6 <= found.lost <= 1


def test_a_false_alarm_above_true_objects_costs_more_than_one_below():
    float_model = raw_detections(row(0.9, 0.8, 0.7, 0.05))

    above = promise(float_model, raw_detections(row(0.9, 0.8, 0.7, 0.85)), SIZE).lost
    below = promise(float_model, raw_detections(row(0.9, 0.8, 0.7, 0.3)), SIZE).lost

    assert above > 0.05
    assert below < 1e-6


def test_an_object_that_is_not_found_is_lost():
    assert promise(
        raw_detections(row(0.9, 0.9)), raw_detections(row(0.9)), SIZE
    ).lost == pytest.approx(0.5, abs=0.02)


def test_what_moved_away_is_another_thing():
    moved = raw_detections([((300, 300, 340, 340), 0.9, 0)])

    assert promise(raw_detections(row(0.9)), moved, SIZE).lost == pytest.approx(1)


def test_labels_count_as_many_objects_as_are_promised_of_them():
    both = [*row(0.9, 0.9, 0.9), ((600, 600, 630, 630), 0.9, 1)]

    found = promise(raw_detections(both), raw_detections(row(0.9, 0.9, 0.9)), SIZE)

    assert found.objects == pytest.approx(4, abs=0.2)
    assert found.lost == pytest.approx(0.25)


def test_where_nothing_is_seen_nothing_is_promised():
    found = promise(raw_detections([]), raw_detections([]), SIZE)

    assert (found.objects, found.lost) == (0, 0)


@pytest.mark.parametrize(("suppresses", "limits"), [(True, [0.04]), (False, [])])
def test_only_what_needs_an_nms_is_held_to_it(monkeypatch, suppresses, limits):
    seen = raw_detections(*[row(0.9, 0.8, 0.7)] * 20)
    monkeypatch.setattr(accuracy, "run_graph", lambda *_: raw_detections(*[row(0.9, 0.8)] * 20))
    held_out = HeldOut([np.zeros((SIZE[1], SIZE[0], 3), np.uint8)] * 20, [None] * 20, seen)
    judge = Judge(held_out, ("can",), Budget(), suppresses=suppresses)

    graded = judge.grade("model.onnx", None, quiet)

    assert [check.limit for check in graded.checks if "promise" in check.what] == limits
    assert graded.promise.lost > 0.2
