"""What a synthetic:// URI may ask for."""

import pytest

from edge.capture.shelf_world.options import View, WorldOptions, parse_world
from edge.capture.shelf_world.splits import Locations, Split
from edge.errors import SourceError


def test_a_view_alone_is_enough():
    assert parse_world("synthetic://shelf") == WorldOptions(View.SHELF)


def test_everything_can_be_asked_for():
    asked = parse_world(
        "synthetic://aisle?seed=7&width=640&height=480&fps=12.5&aisles=A1,B2&style=held_out"
        "&locations=unseen&cycle=20&blind_after=3&markers=1"
    )
    assert asked == WorldOptions(
        View.AISLE,
        seed=7,
        resolution_wh=(640, 480),
        fps=12.5,
        aisles=("A1", "B2"),
        style=Split.HELD_OUT,
        locations=Locations.UNSEEN,
        cycle_s=20.0,
        blind_after_s=3.0,
        markers=True,
    )


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("synthetic://", "view: expected one of shelf, aisle, mast"),
        ("synthetic://roof", "view: expected one of shelf, aisle, mast, found 'roof'"),
        ("synthetic://shelf/7", "expected synthetic:// and a view"),
        ("synthetic://shelf?sed=7", "unknown option 'sed', known are seed"),
        ("synthetic://shelf?seed=7&seed=8", "option seed is given twice"),
        ("synthetic://shelf?seed=-1", "option seed: expected a whole number"),
        ("synthetic://shelf?width=99", "option width: expected a whole number, 160 to 4096"),
        ("synthetic://shelf?fps=nan", "option fps: expected a number, 0.1 to 240"),
        ("synthetic://shelf?blind_after=soon", "option blind_after: expected a number"),
        ("synthetic://shelf?style=fancy", "option style: expected one of train, held_out"),
        ("synthetic://shelf?aisles=a/b", "option aisles: expected names"),
        ("synthetic://shelf?aisles=1,1", "aisles: expected different names"),
        ("synthetic://shelf?aisles=1,2,3", "aisles: expected 1 or 2"),
        ("synthetic://mast?locations=lab", "locations: a mast moves"),
        ("synthetic://shelf?markers=yes", "option markers: expected 0 or 1"),
    ],
)
def test_what_cannot_be_is_named_with_what_can(uri, words):
    with pytest.raises(SourceError) as refused:
        parse_world(uri)
    assert words in str(refused.value)
    assert "write synthetic://" in str(refused.value)
    assert "\n" not in str(refused.value)
