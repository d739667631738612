"""Where an object stands: polygons, anchors, labels, thresholds."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge.aisles.zones import anchors, inside, zones_of
from edge.config import AisleView, CameraConfig
from edge.detections import Detections
from edge.detector.bundle import Thresholds
from edge.errors import ConfigError

LEFT = np.array([(0, 0), (0.5, 0), (0.5, 1), (0, 1)], float)
RIGHT = np.array([(0.5, 0), (1, 0), (1, 1), (0.5, 1)], float)
NOTCHED = np.array([(0, 0), (1, 0), (1, 1), (0.5, 0.5), (0, 1)], float)

unit = st.floats(0, 1, allow_nan=False)


@pytest.mark.parametrize(
    ("polygon", "point", "expected"),
    [
        (LEFT, (0.25, 0.5), True),
        (LEFT, (0.75, 0.5), False),
        (RIGHT, (0.5, 0.5), True),
        (LEFT, (0.5, 0.5), False),
        (RIGHT, (1.0, 1.0), True),
        (LEFT, (0.0, 1.0), True),
        (NOTCHED, (0.5, 0.9), False),
        (NOTCHED, (0.1, 0.7), True),
    ],
)
def test_a_point_is_in_a_polygon(polygon, point, expected):
    assert inside(np.array([point], float), polygon).tolist() == [expected]


@given(st.lists(st.tuples(unit, unit), min_size=1, max_size=20), st.floats(0.05, 0.95), unit)
@example([(0.05, 0.0)], 0.05, 1.0)  # on the edge's upper end, which is no number of 1/2, 1/4, ...
def test_zones_that_share_an_edge_share_no_point_and_leave_none_out(points, top, bottom):
    left = np.array([(0, 0), (top, 0), (bottom, 1), (0, 1)], float)
    right = np.array([(top, 0), (1, 0), (1, 1), (bottom, 1)], float)
    where = np.array(points, float)
    assert (inside(where, left) ^ inside(where, right)).all()


def detections(*rows):
    """Rows of (x1, y1, x2, y2, score, label)."""
    table = np.array(rows, np.float32).reshape(-1, 6)
    return Detections(table[:, :4].copy(), table[:, 4].copy(), table[:, 5].astype(np.int32))


def test_an_object_stands_at_its_bottom_centre_unless_told_otherwise():
    box = detections((10, 20, 30, 60, 0.9, 0))
    assert anchors(box, (100, 100), "bottom-center").tolist() == [[0.2, 0.6]]
    assert anchors(box, (100, 100), "center").tolist() == [[0.2, 0.4]]


def zone(**view):
    camera = CameraConfig(name="c", source="file:///x", aisles=[AisleView(id="07", **view)])
    return zones_of(camera, ("box", "can"), Thresholds(default=0.3, labels={"can": 0.6}))[0]


@pytest.mark.parametrize(
    ("view", "kept"),
    [
        ({}, [0.95, 0.65, 0.35]),
        ({"threshold": 0.5}, [0.95, 0.65, 0.55]),
        ({"threshold": {"box": 0.9}}, [0.95, 0.65]),
        ({"labels": ["can"]}, [0.65]),
        ({"labels": ["can"], "threshold": 0.5}, [0.65, 0.55]),
    ],
)
def test_labels_and_thresholds_say_what_counts(view, kept):
    seen = detections(
        (0, 0, 9, 9, 0.95, 0), (0, 0, 9, 9, 0.65, 1), (0, 0, 9, 9, 0.55, 1), (0, 0, 9, 9, 0.35, 0)
    )
    found = zone(**view).select(seen, (100, 100))
    np.testing.assert_allclose(found.scores, kept)


def test_a_label_the_bundle_does_not_know_is_refused_by_name():
    with pytest.raises(ConfigError, match="camera c: aisle 07: label 'cann' is not one"):
        zone(labels=["cann"])


def test_no_detections_stand_nowhere():
    assert len(zone().select(Detections.none(), (100, 100))) == 0


class TestOtherThresholds:
    def test_hold_for_one_label_or_for_all_that_count_here(self):
        one = zone(labels=["can"])

        assert one.counting_from(np.float32(0.9), None).lowest.tolist() == pytest.approx(
            [np.inf, 0.9]
        )
        assert zone().counting_from(np.float32(0.9), 0).lowest.tolist() == pytest.approx([0.9, 0.6])

    def test_a_label_that_does_not_count_here_still_does_not(self):
        assert zone(labels=["can"]).counting_from(np.float32(0), 0).lowest[0] == np.inf
