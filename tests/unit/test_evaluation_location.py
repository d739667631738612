"""Which places INT8 is blind at where float is not: found, named, and not made up by chance."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.detector.letterbox import Placement
from edge.detector.runtime import RawDetections, Runtime
from engines.evaluation import moved_scenes
from engines.evaluation.coco import Truth
from engines.evaluation.held_out import HeldOut
from engines.evaluation.location import Location, evaluate, recall_by_place
from engines.evaluation.moved_scenes import MovedScenes
from engines.evaluation.places import FEWEST, Count, Places, wilson
from tests.raw import SLOTS, raw_detections

SIZE = 128


class SpotFinder(Runtime):
    """Every bright spot is an object, but for those where it is blind."""

    name = "spots"
    score = 0.9

    def __init__(self, graph, _shape):
        super().__init__((SIZE, SIZE, 3))
        self.blind = graph

    def describe(self):
        return self.name

    def _open(self):
        """Nothing to load."""

    def _infer(self, frames):
        bright = (frames[0].max(axis=2) > 100).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(bright)
        found = [((x, y, x + w, y + h), self.score, 0) for x, y, w, h, _ in stats[1:].tolist()]
        return raw_detections([spot for spot in found if not self.blind(spot[0])][:SLOTS])

    def _close(self):
        """Nothing to release."""


class Graph:
    """Stands in for a graph that is blind where `blind(box)` is true."""

    def __init__(self, blind=lambda _: False):
        self.blind = blind

    def SerializeToString(self):  # noqa: N802 - as onnx has it
        return self.blind


@pytest.fixture
def spots(monkeypatch):
    monkeypatch.setattr(moved_scenes, "OnnxRuntime", SpotFinder)
    return spotted()


@pytest.fixture(scope="module")
def everywhere():
    """What a detector gives that sees everywhere."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(moved_scenes, "OnnxRuntime", SpotFinder)
        return follow(spotted(), Graph())


def spotted():
    frames = []
    for number in range(16):
        frame = np.zeros((SIZE, SIZE, 3), np.uint8)
        x, y = 40 + 2 * number, 60 - number
        frame[y : y + 12, x : x + 10] = 255
        frames.append(frame)
    return frames


def scenes(frames, raw, graph=None):
    held = HeldOut(frames, [None] * len(frames), raw)
    return MovedScenes(graph or Graph(), held, 114, lambda *_: None)


def seen_by_float(frames):
    finder = SpotFinder(lambda _: False, None)
    raw = [finder.infer(frame[np.newaxis]) for frame in frames]
    return RawDetections(
        *(np.concatenate([getattr(r, name) for r in raw]) for name in ("boxes", "scores", "labels"))
    )


def follow(frames, int8, by_float=None):
    return scenes(frames, seen_by_float(frames), by_float).followed("model.onnx", int8)


def test_a_detector_that_sees_everywhere_has_no_bad_place(everywhere):
    assert everywhere.frames == 12
    assert all(count.both == count.objects > 0 for count in everywhere.places.cells.values())
    assert everywhere.places.worst.drop_at_least <= 0


def test_a_place_where_only_int8_is_blind_is_the_worst_and_certain(spots):
    bottom_right = lambda box: box[0] >= 96 and box[1] >= 96  # noqa: E731

    worst = follow(spots, Graph(bottom_right)).places.worst

    assert worst.place == "row 4, column 4"
    assert worst.count.by_float >= FEWEST
    assert worst.drop_at_least > 0.4
    assert "row 4, column 4" in str(worst)


def test_where_float_is_blind_too_int8_loses_nothing(spots):
    graph = Graph(lambda box: box[1] < 40)

    places = follow(spots, graph, graph).places

    assert places.cells[0, 0].neither > 0
    assert places.worst.count.drop == 0


def test_changes_are_counted_by_kind(everywhere):
    kinds = {kind for kind, _ in everywhere.changes}
    assert kinds == {"as it is", "moved", "zoomed", "dimmed", "blurred", "JPEG"}
    assert everywhere.changes["as it is", ""] == Count(both=12)
    assert everywhere.changes["dimmed", "to 25%"] == Count(neither=12)


def test_where_little_is_confident_everything_is_followed_and_may_slip(spots, monkeypatch):
    monkeypatch.setattr(SpotFinder, "score", 0.2)
    raw = raw_detections(*[[((40 + 2 * n, 60 - n, 50 + 2 * n, 72 - n), 0.3, 0)] for n in range(16)])

    followed = scenes(spots, raw).followed("model.onnx", Graph())

    assert followed.changes["as it is", ""] == Count(both=12)


def test_what_the_edge_cuts_is_left_out(spots):
    cut = np.zeros((SIZE, SIZE, 3), np.uint8)
    cut[0:12, 50:60] = 255

    assert follow([cut], Graph()).changes == {}


def test_tensorrts_slow_encoding_is_held_to_float_on_fewer_frames(spots):
    together = scenes(spots, seen_by_float(spots))

    parts = [together.followed(part, Graph()) for part in ("model.onnx", "model.trt.onnx")]

    assert parts[1].frames < parts[0].frames
    assert parts[1].places.worst.count.both > 0


def test_float_looks_at_each_changed_scene_once_whoever_is_held_to_it(spots):
    looked = []
    together = scenes(spots, seen_by_float(spots), Graph(looked.append))

    first = together.followed("model.onnx", Graph())
    once = len(looked)
    again = together.followed("model.onnx", Graph())

    assert once > 0
    assert len(looked) == once
    assert again == first


def truth(*boxes, levels=None, crowd=None):
    n = len(boxes)
    return Truth(
        "a.jpg",
        Placement((SIZE, SIZE), (1.0, 1.0), (0, 0), (SIZE, SIZE)),
        np.float32(boxes).reshape(-1, 4),
        np.zeros(n, np.int32),
        np.array(crowd or [False] * n, np.bool_),
        tuple(levels or [None] * n),
    )


def held_out(by_float, *truths):
    frames = [np.zeros((SIZE, SIZE, 3), np.uint8)] * len(truths)
    return HeldOut(frames, list(truths), by_float)


def test_annotated_objects_are_counted_by_cell_band_and_shelf_level():
    top, bottom = (4, 4, 20, 20), (100, 100, 120, 120)
    known = truth(top, bottom, levels=[3, 0])
    seen = [(top, 0.9, 0), (bottom, 0.9, 0)]

    places = recall_by_place(
        held_out(raw_detections(seen, seen), known, known), raw_detections(seen, seen[:1]), 114
    )

    assert places.cells == {(0, 0): Count(both=2), (3, 3): Count(both=1, lost=1)}
    assert places.levels == {3: Count(both=2), 0: Count(both=1, lost=1)}
    assert [band.objects for band in places.bands] == [2, 0, 0, 2]


def test_frames_without_annotations_and_crowds_count_nothing():
    known = truth((4, 4, 20, 20), crowd=[True])

    assert (
        recall_by_place(
            held_out(raw_detections([], []), known, None), raw_detections([], []), 114
        ).cells
        == {}
    )


def test_a_detection_of_another_label_is_not_that_object():
    box = (4, 4, 20, 20)
    places = recall_by_place(
        held_out(raw_detections([(box, 0.9, 1)]), truth(box)), raw_detections([(box, 0.9, 0)]), 114
    )

    assert places.cells == {(0, 0): Count(gained=1)}


def test_a_blind_place_is_a_check_that_does_not_hold(spots):
    bottom_right = lambda box: box[0] >= 96 and box[1] >= 96  # noqa: E731
    raw = raw_detections(*[[((40 + 2 * n, 60 - n, 50 + 2 * n, 72 - n), 0.9, 0)] for n in range(16)])

    where = evaluate(scenes(spots, raw), "model.onnx", Graph(bottom_right), raw)

    (failed,) = [check for check in where.checks() if not check.held]
    assert (failed.part, failed.rests_on) == ("model.onnx", 12)
    assert "row 4, column 4" in failed.what
    assert failed.found > failed.limit


def test_without_enough_objects_there_is_nothing_to_check():
    places = Places()
    places.add((0, 0), Count(lost=FEWEST - 1))

    assert Location({}, {"model.onnx": places}).checks() == ()


@pytest.mark.parametrize(
    ("count", "refused"),
    [
        (Count(both=2, lost=1), False),
        (Count(both=27, lost=3), False),
        (Count(both=90, lost=5, gained=4), False),
        (Count(both=15, lost=15), True),
        (Count(both=160, lost=40), True),
    ],
)
def test_only_a_drop_that_chance_does_not_explain_is_certain(count, refused):
    places = Places()
    places.add((0, 0), count)

    assert (places.worst is not None and places.worst.drop_at_least > 0.05) == refused


def test_cells_with_few_objects_are_not_judged():
    places = Places()
    places.add((0, 0), Count(lost=FEWEST - 1))
    assert places.worst is None

    places.add((1, 2), Count(both=FEWEST))
    assert (places.worst.place, places.worst.judged) == ("row 2, column 3", 1)


def test_a_certain_drop_is_worse_than_a_larger_one_that_may_be_chance():
    places = Places()
    places.add((0, 0), Count(both=8, lost=3))
    places.add((1, 1), Count(both=90, lost=2))
    assert places.worst.place == "row 1, column 1"

    places.add((2, 2), Count(both=160, lost=40))
    assert places.worst.place == "row 3, column 3"


def test_more_judged_cells_ask_for_more_certainty():
    alone, among = Places(), Places()
    for places in (alone, among):
        places.add((0, 0), Count(both=20, lost=10))
    for column in range(1, 4):
        among.add((0, column), Count(both=30))

    assert among.worst.place == "row 1, column 1"
    assert among.worst.drop_at_least < alone.worst.drop_at_least


@pytest.mark.parametrize(
    ("shares", "n"),
    [((0.9, 0.02, 0.02, 0.06), 60), ((0.7, 0.2, 0.05, 0.05), 30), ((0.5, 0.1, 0.1, 0.3), 20)],
)
def test_the_bound_holds_as_often_as_it_says(shares, n):
    true_drop = shares[1] - shares[2]
    draws = np.random.default_rng(7).multinomial(n, shares, size=500)

    held = [Count(*draw.tolist()).drop_at_least(0.95) <= true_drop for draw in draws]

    assert np.mean(held) > 0.92


def test_the_bound_comes_near_the_drop_with_many_objects():
    assert Count(8000, 1500, 500).drop_at_least(0.95) == pytest.approx(0.1, abs=0.01)


@given(of=st.integers(1, 500), share=st.floats(0, 1))
def test_wilsons_interval_holds_the_share(of, share):
    hits = round(of * share)

    low, high = wilson(hits, of, 1.96)

    assert 0 <= low <= hits / of + 1e-12
    assert hits / of - 1e-12 <= high <= 1


def test_wilsons_interval_has_its_published_values():
    # E. B. Wilson (1927); as in Newcombe, Statistics in Medicine 17, 857-872, table I.
    assert wilson(81, 263, 1.959964) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20, 1.959964) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_the_passport_gets_plain_values(everywhere):
    import json

    text = json.dumps(everywhere.for_passport())

    assert '"judged_cells": 16' in text
