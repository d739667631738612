"""The camera's geometry: what projects where, and what the lens does to it."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge.capture.shelf_world.camera_optics import look_at

SIZE = (640, 360)


def camera(barrel=0.08):
    return look_at((0, -4, 1), (0, 0, 1), np.radians(60), SIZE, barrel)


def test_what_it_looks_at_is_in_the_middle():
    pixel = camera().project(np.array([(0.0, 0.0, 1.0)]))
    assert np.allclose(pixel, [(319.5, 179.5)])


def test_right_is_right_and_up_is_up():
    right, up = camera().project(np.array([(1.0, 0.0, 1.0), (0.0, 0.0, 2.0)]))
    assert right[0] > 330
    assert up[1] < 170


def test_its_angle_is_its_width():
    edge = 4 * np.tan(np.radians(30))
    assert np.allclose(camera(0.0).project(np.array([(edge, 0.0, 1.0)]))[0, 0], 639.5)


@given(st.floats(0, 639), st.floats(0, 359), st.floats(0, 0.2))
def test_bending_undoes_straightening(x, y, barrel):
    lens = camera(barrel)
    straight = lens.straighten(np.float32([x]), np.float32([y]))
    back = lens.bend(np.array([(straight[0][0, 0], straight[1][0, 0])], np.float64))
    assert np.allclose(back, [(x, y)], atol=0.01)


def test_a_barrel_draws_the_corners_in():
    corner = np.array([(2.0, 0.0, 2.0)])
    plain, bent = camera(0.0).project(corner), camera(0.1).project(corner)
    centre = np.array([319.5, 179.5])
    assert np.linalg.norm(bent - centre) < np.linalg.norm(plain - centre)
