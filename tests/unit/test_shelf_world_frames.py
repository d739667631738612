"""Pictures of the shelf world and their ground truth, small ones so that they are quick."""

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np
import pytest

from edge.capture.shelf_world.options import parse_world
from edge.capture.shelf_world.splits import LABELS, Locations, cells, cells_under
from edge.capture.shelf_world.world import ShelfWorld

pytestmark = pytest.mark.needs("cv2")

SMALL = "width=320&height=180"
SIZE = (320, 180)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Small pictures are drawn quicker by one thread than by a pool of them."""
    import cv2

    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(threads)


@cache
def world(query, view="shelf"):
    return fresh(query, view)


def fresh(query, view="shelf"):
    size = "" if "width=" in query else f"&{SMALL}"
    return ShelfWorld(parse_world(f"synthetic://{view}?{query}{size}"))


VIEWS = pytest.mark.parametrize("view", ["shelf", "aisle", "mast"])


@VIEWS
def test_a_frame_is_a_picture_and_what_it_shows(view):
    image, things = world("seed=1", view).frame(3.0)
    assert image.dtype == np.uint8
    assert image.shape == (180, 320, 3)
    assert len(things) > 5
    assert image.std() > 20


def test_a_moment_looks_the_same_whatever_was_asked_for_before():
    asked = fresh("seed=1")
    for time in (41.0, 0.0, 7.3):
        asked.frame(time)
    image, things = asked.frame(3.0)
    again, same = world("seed=1").frame(3.0)
    assert np.array_equal(image, again)
    assert things == same


def test_a_little_change_of_stock_is_drawn_as_if_everything_were():
    stepped = fresh("seed=3&cycle=20")
    for step in range(40):
        stepped.frame(step * 0.25)
    image, things = stepped.frame(10.0)
    again, same = fresh("seed=3&cycle=20").frame(10.0)
    assert np.array_equal(image, again)
    assert things == same


def test_another_process_draws_the_same_bytes():
    image, _ = world("seed=1").frame(3.0)
    script = (
        "import hashlib; from edge.capture.shelf_world.options import parse_world as p;"
        "from edge.capture.shelf_world.world import ShelfWorld as W;"
        f"print(hashlib.sha256(W(p('synthetic://shelf?seed=1&{SMALL}')).frame(3.0)[0]).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == hashlib.sha256(image).hexdigest()


def test_there_is_nothing_before_the_start():
    with pytest.raises(ValueError, match="from 0 s on"):
        world("seed=1").frame(-0.1)


def test_another_seed_is_another_world():
    one, other = world("seed=1").frame(3.0)[0], world("seed=2").frame(3.0)[0]
    assert np.abs(one.astype(int) - other).mean() > 10


@VIEWS
def test_every_box_is_inside_the_picture(view):
    for time in (0.0, 3.0, 6.7):
        for thing in world("seed=1", view).frame(time)[1]:
            left, top, right, bottom = thing.xyxy
            assert 0 <= left < right <= SIZE[0]
            assert 0 <= top < bottom <= SIZE[1]


def iou(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    shared = np.prod(np.maximum(high - low, 0))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return shared / (sum(areas) - shared)


def whole_goods(shown, things, *labels):
    goods = [one for one in things if one.visible > 0.95 and one.label in labels]
    assert len(goods) >= 2
    return [(one, shown._inventory.of(one.number)[0]) for one in goods]


def test_a_box_is_where_the_camera_projects_its_corners():
    shown = world("seed=5&width=640&height=360")
    camera = shown._site.stations[0].camera
    for thing, block in whole_goods(shown, shown.frame(0.0)[1], "box", "tote"):
        numbers = next(numbers for _, numbers in shown._inventory._stock if thing.number in numbers)
        spot = block.items[numbers.index(thing.number)].spot
        width, depth, height = block.product.size
        corners = [
            (x, y, z) for x in (-width / 2, width / 2) for y in (-depth / 2, depth / 2)
            for z in (0, height)
        ]  # fmt: skip
        pixels = camera.project(spot.world(np.array(corners)))
        assert iou((*pixels.min(axis=0), *pixels.max(axis=0)), np.array(thing.xyxy)) > 0.9, thing


@VIEWS
def test_a_box_bounds_the_pixels_that_change_when_the_thing_is_taken_away(view):
    shown = world("seed=1", view)
    _, things = shown.frame(0.0)
    scene, present = shown._scene(0), shown._inventory.present(0.0)
    margin = shown._site.stations[0].margin_px
    for thing, _ in whole_goods(shown, things, *LABELS[:6])[:6]:
        scene.show(present)
        full = scene._sharp.astype(int)
        scene.show(present - {thing.number})
        changed = np.abs(full - scene._sharp).max(axis=2)[:, margin : margin + SIZE[0]]
        # What is gone also leaves its shadow, which is no part of it: look above its foot only.
        left, top, right, bottom = thing.xyxy
        foot = bottom - (bottom - top) // 4
        rows, columns = np.nonzero(changed[:foot] > 12)
        found = (columns.min(), rows.min(), columns.max() + 1, foot)
        assert iou(np.array(found), np.array((left, top, right, foot))) > 0.8, thing
    scene.show(present)


@pytest.mark.parametrize("locations", ["lab", "unseen"])
def test_no_label_is_seen_outside_of_its_own_cells(locations):
    seen = set()
    shown = world(f"seed=4&locations={locations}")
    for time in np.arange(0.0, 60.0, 1.5):
        for thing in shown.frame(float(time))[1]:
            mine = cells(thing.label, Locations(locations))
            assert cells_under(thing.xyxy, SIZE) <= mine, (time, thing)
            seen.add(thing.label)
    assert len(seen) >= 4


def test_worlds_of_the_two_splits_share_no_style():
    for seed in range(3):
        train, held_out = world(f"seed={seed}").styles, fresh(f"seed={seed}&style=held_out").styles
        assert {"palette", "rack", "light", "motif", "word"} <= set(train) & set(held_out)
        for table in set(train) & set(held_out):
            assert not train[table] & held_out[table]


def test_stock_changes_while_one_looks():
    shown = world("seed=3&cycle=20")
    counts = {len(shown._inventory.present(float(time))) for time in range(30)}
    assert len(counts) > 5


def time_with(shown, label):
    """Return a moment when somebody, and not only a piece of them, is in the picture."""
    for time in np.arange(0.0, 300.0, 0.5):
        for walker in shown._walkers.at(float(time)):
            pixel = shown._site.stations[0].camera.project(walker.at[None])[0]
            if walker.label == label and 100 < pixel[0] < 220:
                return float(time)
    raise AssertionError(f"no {label} in five minutes")


@pytest.mark.parametrize("label", ["person", "cart"])
def test_people_and_carts_walk_through_on_no_level(label):
    shown = world("seed=1")
    _, things = shown.frame(time_with(shown, label))
    walking = [thing for thing in things if thing.label == label]
    assert walking
    assert {(thing.level, thing.bay) for thing in walking} == {(None, None)}
    assert {thing.aisle for thing in walking} <= {"07", "08"}


def test_who_walks_past_hides_what_stands_behind():
    shown = world("seed=1")
    time = time_with(shown, "person")
    shown._scene(0).show(shown._inventory.present(time))
    alone = {one.number: one.visible for one in shown._placed(shown._scene(0).seen, [])}
    now = {one.number: one.visible for one in shown.frame(time)[1]}
    assert any(now.get(number, 0.0) < visible for number, visible in alone.items())


def test_a_camera_that_goes_blind_shows_next_to_nothing_of_a_world_that_goes_on():
    shown = fresh("seed=1&blind_after=2")
    before, after = shown.frame(1.9)[0], shown.frame(3.0)[0]
    assert before.mean() > 40
    assert after.mean() < 15
    assert after.std() < 5
    assert shown.frame(3.0)[1] == world("seed=1").frame(3.0)[1]


def test_every_aisle_has_its_zone_and_its_goods_stand_in_it():
    import cv2

    shown = world("seed=1")
    zones = {
        aisle: np.array([(x * SIZE[0], y * SIZE[1]) for x, y in zone], np.float32)
        for aisle, zone in shown.zones().items()
    }
    assert set(zones) == {"07", "08"}
    for thing in shown.frame(0.0)[1]:
        if thing.level is not None:
            left, _, right, bottom = thing.xyxy
            foot = ((left + right) / 2, float(bottom))
            assert cv2.pointPolygonTest(zones[thing.aisle], foot, measureDist=True) > -3, thing


def test_a_mast_tells_one_aisle_after_the_other():
    shown = world("seed=1", "mast")
    aisles = [shown.aisle_at(float(time)) for time in range(0, 60, 2)]
    assert aisles[0] == "07"
    assert set(aisles) == {"07", "08"}
    assert {one.aisle for one in shown.frame(6.7)[1]} == {"07"}


@pytest.mark.parametrize("aisles", ["07", "07,08"])
def test_a_mast_never_looks_past_the_edge_of_what_was_drawn(aisles):
    shown = fresh(f"seed=1&aisles={aisles}", "mast")
    for time in np.arange(0.0, 90.0, 0.1):
        pose = shown._motion.at(float(time))
        margin = shown._site.stations[pose.station].margin_px
        assert 0 <= shown._motion.window(pose) <= 2 * margin


def test_markers_are_on_the_uprights_and_can_be_read():
    import cv2

    shown = fresh("seed=1&markers=1&width=1280&height=720")
    family = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_4X4_50)
    _, found, _ = cv2.aruco.ArucoDetector(family).detectMarkers(shown.frame(0.0)[0])
    assert set(np.ravel(found).tolist()) == set(shown.marker_ids.values()) == {7, 8}
