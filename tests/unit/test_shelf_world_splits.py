"""What is held out of training stays out of it, by construction."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.shelf_world import figures, motifs, prints, profiles, styles
from edge.capture.shelf_world.splits import (
    GRID,
    LABELS,
    Locations,
    Split,
    allows,
    cells,
    cells_under,
    variants,
)

TABLES = {
    "palette": styles.PALETTES,
    "kraft": styles.KRAFT,
    "plastic": styles.PLASTIC,
    "wood": styles.WOOD,
    "glass": styles.GLASS,
    "rack": styles.RACKS,
    "floor": styles.FLOORS,
    "wall": styles.WALLS,
    "sign": styles.SIGNS,
    "word": styles.WORDS,
    "light": styles.LIGHTS,
    "motif": motifs.MOTIFS,
    "layout": prints.LAYOUTS,
    "bottle": profiles.BOTTLES,
    "outfit": figures.OUTFITS,
    "cart": figures.CARTS,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_variant_is_either_trained_on_or_held_out(name):
    count = len(TABLES[name])
    train, held_out = variants(Split.TRAIN, count), variants(Split.HELD_OUT, count)
    assert sorted(train + held_out) == list(range(count))
    assert held_out


def test_the_labels_and_their_order_are_what_detectors_were_trained_with():
    assert LABELS == ("box", "bottle", "can", "carton", "tote", "pallet", "person", "cart")


@pytest.mark.parametrize("label", LABELS)
def test_lab_and_unseen_cells_share_none_and_leave_none_out(label):
    lab, unseen = cells(label, Locations.LAB), cells(label, Locations.UNSEEN)
    assert not lab & unseen
    assert lab | unseen == cells(label, Locations.ALL)
    assert len(cells(label, Locations.ALL)) == GRID[0] * GRID[1]
    assert lab
    assert unseen


side = st.floats(-200, 1500, allow_nan=False)


@given(side, side, st.floats(1, 800), st.floats(1, 800), st.sampled_from(LABELS))
def test_no_box_is_allowed_both_in_the_lab_and_where_it_was_never_seen(x, y, w, h, label):
    box, size = (x, y, x + w, y + h), (1280, 720)
    if cells_under(box, size):
        lab, unseen = (
            allows(label, where, box, size) for where in (Locations.LAB, Locations.UNSEEN)
        )
        assert not (lab and unseen)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((0, 0, 10, 10), {(0, 0)}),
        ((199, 0, 201, 10), {(0, 0), (1, 0)}),
        ((190, 0, 200, 10), {(0, 0)}),
        ((1190, 590, 1300, 700), {(5, 3)}),
        ((-50, -50, -10, -10), set()),
    ],
)
def test_a_box_is_in_every_cell_that_it_has_a_part_in(box, expected):
    assert cells_under(box, (1200, 600)) == expected
