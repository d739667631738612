"""What a report is made of, small: eight frames, a network of four convolutions, hostile names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from onnx import TensorProto, helper

from calibration.quantise import quantise
from edge.detector import bundle
from edge.detector.golden import FLOAT
from edge.detector.letterbox import Placement
from edge.detector.runtime import RawDetections
from engines.evaluation import accuracy, budget
from engines.evaluation.average_precision import average_precision
from engines.evaluation.coco import Truth
from engines.evaluation.evaluated import Evaluated, Graded
from engines.evaluation.held_out import HeldOut
from engines.evaluation.location import Location, recall_by_place
from engines.evaluation.moved_scenes import Followed
from engines.evaluation.places import Count, Places
from engines.evaluation.promise import Promise
from engines.search.layers import KeptLayer, Searched
from tests.calibration_network import SIZE, frames, network

HOSTILE = "can <script>alert(document.title)</script> \" onload='boom()' & more"
LONG = "a_label_without_any_space_" * 5
LABELS = (HOSTILE, LONG, "tote")
BOXES = np.float32([[1, 1, 7, 7], [8, 2, 14, 8], [4, 9, 10, 15]])
SCORES = np.float32([0.9, 0.6, 0.4])
COUNT = 8


def subject(*, drift=0.05, convolutions=True):
    """Return what `report.render` takes; INT8 scores `drift` less, and loses and invents a box."""
    by_float, by_int8 = _raw(0.0), _raw(drift)
    held = HeldOut(frames(COUNT), [None] * COUNT, by_float)
    return _evaluated(held, by_int8, _graphs(convolutions)), _location(), _passport()


def annotated():
    """Return the same with annotations of the same boxes, on three shelf levels."""
    evaluated, where, passport = subject()
    whole = Placement((SIZE, SIZE), (1.0, 1.0), (0, 0), (SIZE, SIZE))
    truths = [
        Truth(f"{n}.jpg", whole, BOXES, np.int32([0, 1, 2]), np.zeros(3, np.bool_), (2, 2, 0))
        for n in range(COUNT)
    ]
    held = replace(evaluated.held_out, truths=truths)
    places, _ = held.annotated
    graded = {
        part: replace(seen, precision=average_precision(truths, seen.raw, places))
        for part, seen in evaluated.graded.items()
    }
    precision = average_precision(truths, held.raw, places)
    evaluated = replace(evaluated, held_out=held, precision=precision, graded=graded)
    known = {part: recall_by_place(held, seen.raw, 114) for part, seen in graded.items()}
    return evaluated, replace(where, annotated=known), passport


def missed():
    """Return a build that misses one of two checks and was let through."""
    evaluated, where, passport = subject()
    part = bundle.PORTABLE_GRAPH
    checks = (
        budget.Check(part, "score shift", 0.05, 0.02, held=False, rests_on=16, use=2.5),
        budget.Check(part, "lost", 0, 1, held=True, rests_on=16, use=0),
    )
    verdict = replace(evaluated.verdict, checks=checks, allow_drop=True)
    return replace(evaluated, verdict=verdict), where, passport


def _raw(drift):
    scores = np.tile(SCORES, (COUNT, 1))
    labels = np.tile(np.int32([0, 1, 2]), (COUNT, 1))
    if drift:
        scores -= np.float32(drift)
        scores[1, 2] = 0
        labels[2, 0] = 2
    return RawDetections(np.tile(BOXES, (COUNT, 1, 1)), scores, labels)


@cache
def _graphs(convolutions):
    if not convolutions:
        frame = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["b", SIZE, SIZE, 3])
        node = helper.make_node("Identity", ["frames"], ["same"])
        graph = helper.make_model(helper.make_graph([node], "empty", [frame], []))
        return {FLOAT: graph, bundle.PORTABLE_GRAPH: graph}
    reference = network()
    return {FLOAT: reference, bundle.PORTABLE_GRAPH: quantise(reference, frames()).cpu}


def _evaluated(held, by_int8, graphs):
    part = bundle.PORTABLE_GRAPH
    grade = accuracy.grade(held.raw, by_int8, (SIZE, SIZE))
    of_label = accuracy.grade_by_label(held.raw, by_int8, (SIZE, SIZE))
    labels = {LABELS[label]: seen for label, seen in of_label.items()}
    check = budget.Check(part, "score shift", 0.01, 0.02, held=True, rests_on=16, use=0.5)
    layers = (KeptLayer("c2", share=0.4, noise=0.01, cost=1.5, milliseconds=0.2),)
    return Evaluated(
        held_out=held,
        precision=None,
        graphs=graphs,
        graded={part: Graded(part, by_int8, grade, labels, None, Promise(20.0, 0.01), (check,))},
        verdict=budget.Verdict(budget.Budget(), (check,), ("the verdict rests on few",), False),
        searched={part: Searched(part, layers, use=0.5, tried=7)},
        speed={
            "float_ms": 20.0, "int8_ms": 9.0, "int8_to_float": 0.45, "threads": 1, "cpu": "a CPU",
        },
    )  # fmt: skip


def _location():
    places = Places()
    for row in range(4):
        for column in range(4):
            places.add((row, column), Count(both=20 - 3 * row - column, lost=row, neither=column))
    followed = Followed(frames=12, places=places)
    followed.changes["moved", ""] += Count(both=94, lost=4, gained=2)
    followed.changes["dimmed", "to 25%"] += Count(both=5, lost=15)
    return Location({bundle.PORTABLE_GRAPH: followed}, {})


def _passport():
    return bundle.Passport(
        name="shelf",
        version="1.2.0",
        family="ultralytics",
        input=bundle.InputSpec(width=SIZE, height=SIZE, letterbox="centered"),
        labels=LABELS,
        iou=0.7,
        max_detections=3,
        files={bundle.PORTABLE_GRAPH: "0" * 64},
        calibration={"images": {"looked_at": 30, "near_duplicates": 2}},
        source={"file": "<img src=x onerror=boom()>.onnx", "sha256": "1" * 64},
    )
