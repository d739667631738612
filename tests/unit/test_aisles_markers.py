"""Printed markers say which aisle a frame shows: the nearest one's."""

import numpy as np
import pytest

from edge.aisles.markers import _OPENCV_NAME, MarkerReader
from edge.aisles.smoothing import MISREAD
from edge.config import MARKERS
from edge.errors import MissingPackage

cv2 = pytest.importorskip("cv2")

IDS = [[7, 17], [8], [9]]


def frame(*placed, family="aruco_4x4_50", wh=(1280, 720)):
    """Return a grey wall with markers on it: (number, left, top, side in pixels)."""
    image = np.full((wh[1], wh[0], 3), 120, np.uint8)
    dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, _OPENCV_NAME[family]))
    for number, left, top, side in placed:
        marker = cv2.aruco.generateImageMarker(dictionary, number, side)
        plate = np.pad(marker, side // 6, constant_values=230)
        image[top : top + len(plate), left : left + len(plate)] = plate[..., None]
    return image


def likeliest(likelihood):
    return None if (likelihood == likelihood[0]).all() else int(np.argmax(likelihood))


@pytest.mark.parametrize(("number", "aisle"), [(7, 0), (17, 0), (8, 1), (9, 2)])
def test_a_marker_says_its_aisle(number, aisle):
    seen = MarkerReader("aruco_4x4_50", IDS).likelihood(frame((number, 300, 200, 90)))

    assert seen.tolist() == [1.0 if state == aisle else MISREAD for state in range(4)]


@pytest.mark.parametrize("family", MARKERS)
def test_every_family_is_read_to_its_last_marker(family):
    last = MARKERS[family] - 1
    reader = MarkerReader(family, [[0], [last]])

    assert likeliest(reader.likelihood(frame((0, 300, 200, 120), family=family))) == 0
    assert likeliest(reader.likelihood(frame((last, 300, 200, 120), family=family))) == 1


def test_a_frame_without_markers_says_nothing():
    assert MarkerReader("aruco_4x4_50", IDS).likelihood(frame()).tolist() == [1.0] * 4


def test_markers_of_nobody_say_nothing():
    assert (
        MarkerReader("aruco_4x4_50", IDS).likelihood(frame((3, 300, 200, 90))).tolist() == [1.0] * 4
    )


def test_the_nearest_of_two_aisles_is_the_likelier():
    reader = MarkerReader("aruco_4x4_50", IDS)

    seen = reader.likelihood(frame((8, 200, 200, 60), (9, 600, 200, 180)))

    assert likeliest(seen) == 2
    assert seen[1] < 0.3


def test_several_small_ones_of_an_aisle_count_together():
    reader = MarkerReader("aruco_4x4_50", IDS)

    seen = reader.likelihood(frame((7, 100, 200, 80), (17, 300, 200, 80), (8, 600, 200, 90)))

    assert likeliest(seen) == 0


@pytest.mark.parametrize("wh", [(320, 240), (1280, 720), (1920, 1080), (4096, 2160), (1081, 1919)])
def test_frames_of_any_size_are_read(wh):
    side = wh[0] // 12

    seen = MarkerReader("aruco_4x4_50", IDS).likelihood(
        frame((8, wh[0] // 4, wh[1] // 4, side), wh=wh)
    )

    assert likeliest(seen) == 1


@pytest.mark.parametrize("wall", [0, 60, 200])
@pytest.mark.parametrize("corner", [(60, 60), (8, 8), (860, 440)])
def test_a_tag_with_a_border_of_one_cell_is_read_on_any_wall_up_to_the_edge(wall, corner):
    dictionary = cv2.aruco.getPredefinedDictionary(cv2.aruco.DICT_APRILTAG_36h11)
    tag = np.pad(cv2.aruco.generateImageMarker(dictionary, 7, 64), 8, constant_values=255)
    image = np.full((540, 960, 3), wall, np.uint8)
    left, top = corner
    image[top : top + 80, left : left + 80] = tag[..., None]

    assert likeliest(MarkerReader("apriltag_36h11", IDS).likelihood(image)) == 0


def test_a_marker_in_shade_and_seen_at_an_angle_is_read():
    corners = np.float32([[0, 0], [1280, 0], [1280, 720], [0, 720]])
    skewed = corners + np.float32([[0, 0], [-300, 120], [-300, -90], [0, 0]])
    angle = cv2.getPerspectiveTransform(corners, skewed)
    image = cv2.warpPerspective(frame((8, 300, 250, 120)), angle, (1280, 720))
    shaded = (image * np.linspace(0.15, 0.8, 1280)[:, None]).astype(np.uint8)

    assert likeliest(MarkerReader("aruco_4x4_50", IDS).likelihood(shaded)) == 1


def test_an_opencv_without_aruco_is_named_with_the_remedy(monkeypatch):
    monkeypatch.delattr(cv2, "aruco")

    with pytest.raises(MissingPackage, match=r"markers need an OpenCV with ArUco.*install"):
        MarkerReader("aruco_4x4_50", IDS)
