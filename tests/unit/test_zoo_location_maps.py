"""What the location experiment says of its cells: recall, the worst of them, and their picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from engines.zoo.location_maps import FEWEST, Measured, summary, svg
from engines.zoo.scoring import Score

FULL = 100


def _measured(found, there, arm="lab"):
    found, there = np.atleast_2d(found), np.atleast_2d(there)
    things = int(there.sum())
    score = Score(4, things, 0.5, 0.6, {"box": 0.5}, found, there)
    return Measured(arm, "shelf", "unseen", "INT8", score)


def _texts(picture):
    return [text.text for text in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def test_recall_is_over_all_things_and_the_mean_over_cells():
    measured = _measured([100, 0], [100, 300])
    assert measured.recall == pytest.approx(0.25)
    assert measured.mean == pytest.approx(0.5)


def test_the_worst_cell_is_the_one_with_the_smallest_share_found():
    assert _measured([90, 30, 80], [100, 40, 100]).worst == pytest.approx(0.75)


def test_a_cell_with_too_few_things_is_not_judged():
    measured = _measured([0, 50], [FEWEST - 1, FULL])
    assert measured.worst == pytest.approx(0.5)
    assert len(measured.judged) == 1


def test_without_a_judged_cell_there_is_no_worst_one():
    measured = _measured([0, 1], [0, FEWEST - 1])
    assert measured.worst is None
    assert measured.mean is None
    assert _texts(svg([[measured]]))


def test_the_summary_is_strict_json_though_a_cell_is_empty():
    text = json.dumps(summary([_measured([0, 30], [0, FULL])]), allow_nan=False)
    assert json.loads(text)[0]["worst_cell"] == 0.3


def test_the_picture_has_a_map_for_each_graph_with_percents_and_counts():
    rows = [[_measured([[25, 5]], [[100, 3]], arm)] * 2 for arm in ("lab", "all")]
    texts = _texts(svg(rows))
    assert texts.count("25") == 4
    assert texts.count("100") == 4
    assert sum(str(text).startswith("all, unseen") for text in texts) == 2


def test_a_cell_is_darker_the_more_of_it_is_found():
    fills = [
        box.get("fill")
        for box in ET.fromstring(svg([[_measured([10, 50, 90], [FULL] * 3)]])).iter(
            "{http://www.w3.org/2000/svg}rect"
        )
    ][1:]
    assert fills == sorted(fills, reverse=True)
    assert len(set(fills)) == 3
