"""The "cannot see" verdict: what is judged, and how it settles over time."""

import numpy as np
import pytest

from edge.capture.visibility import FROZEN_S, SETTLE_S, Look, Visibility, judge, look
from edge.frame import Blindness
from tests.fakes.camera import picture

pytestmark = pytest.mark.needs("cv2")

CLEAR = Look(bright=220, white=0.02, edge=40, sharpness=2.5, fingerprint=0)
DARK = np.zeros((64, 96, 3), np.uint8)
WHITE = np.full((64, 96, 3), 255, np.uint8)


def but(**measured):
    return Look(**{name: measured.get(name, getattr(CLEAR, name)) for name in CLEAR.__slots__})


@pytest.mark.parametrize(
    ("seen", "baseline", "verdict"),
    [
        (CLEAR, None, None),
        (but(bright=19), None, Blindness.DARK),
        (but(bright=25, edge=2.2, sharpness=2.0), None, None),
        (but(bright=25, edge=0.2), None, Blindness.DARK),
        (but(white=0.5), None, None),
        (but(white=0.8), None, Blindness.BLOWN_OUT),
        (but(edge=0.5), None, Blindness.COVERED),
        (but(edge=3, sharpness=1.1), None, Blindness.COVERED),
        (but(edge=3, sharpness=2.2), None, None),
        (but(sharpness=1.2), None, Blindness.BLURRED),
        (but(sharpness=1.5), None, None),
        (but(sharpness=1.5), 1.7, None),
        (but(sharpness=1.5), 2.6, Blindness.BLURRED),
        (but(sharpness=1.7), 2.9, None),
    ],
    ids=[
        "clear",
        "hardly any light",
        "night, with edges",
        "night, without",
        "half of it lit white",
        "nearly all of it white",
        "no edge",
        "shading alone",
        "fog, with sharp edges",
        "no edge is sharp",
        "soft, usual unknown",
        "soft as usual",
        "softer than usual",
        "less sharp than usual, but sharp",
    ],
)
def test_a_picture_is_judged(seen, baseline, verdict):
    assert judge(seen, baseline) is verdict


def test_noise_is_not_taken_for_edges():
    rng = np.random.default_rng(0)
    for level, deviation in ((2, 20), (90, 15), (170, 5)):
        noise = rng.normal(level, deviation, (360, 640, 1)).clip(0, 255)
        measured = look(np.repeat(noise.astype(np.uint8), 3, axis=2))

        assert measured.edge < 1, (level, deviation)


def test_sharpness_does_not_depend_on_contrast():
    image = picture()
    faint = (image // 4 + 100).astype(np.uint8)

    assert look(faint).sharpness == pytest.approx(look(image).sharpness, rel=0.1)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4000), (16, 16), (40, 40), (240, 135), (2160, 3840)])
def test_any_size_of_picture_can_be_looked_at(shape):
    import cv2

    image = cv2.resize(picture(), shape[::-1], interpolation=cv2.INTER_NEAREST)

    assert judge(look(image), None) is None


def settled(*shown, live=False):
    """Show (picture, seconds for which it is shown); return the verdicts, ten per second."""
    visibility, verdicts, time_s = Visibility(live=live), [], 100.0
    for image, seconds in shown:
        for _ in range(round(seconds * 10)):
            visibility.look(image() if callable(image) else image, time_s)
            verdicts.append(visibility.settled)
            time_s += 0.1001
    return verdicts


def moving():
    rng = np.random.default_rng(1)
    return lambda: picture(int(rng.integers(1 << 30)))


def test_the_first_picture_counts_at_once():
    assert settled((DARK, 0.1)) == [Blindness.DARK]


def test_one_bad_picture_does_not_make_a_camera_blind():
    assert set(settled((moving(), 2), (DARK, 0.1), (moving(), 2))) == {None}


def test_bad_pictures_that_stay_do():
    verdicts = settled((moving(), 2), (DARK, 3))

    assert verdicts[20:].count(None) == pytest.approx(SETTLE_S * 10, abs=1)
    assert verdicts[-1] is Blindness.DARK


def test_bad_pictures_make_it_blind_although_their_reasons_alternate():
    shown = [(DARK if n % 2 else WHITE, 0.1) for n in range(30)]

    assert settled((moving(), 2), *shown)[-1] is not None


def test_one_good_picture_does_not_make_a_blind_camera_see():
    assert set(settled((DARK, 2), (moving(), 0.1), (DARK, 2))) == {Blindness.DARK}


def test_good_pictures_that_stay_do():
    verdicts = settled((DARK, 2), (moving(), 3))

    assert verdicts[20:].count(Blindness.DARK) == pytest.approx(SETTLE_S * 10, abs=1)
    assert verdicts[-1] is None


def test_the_reason_follows_when_it_stays():
    assert settled((DARK, 2), (WHITE, 3))[-1] is Blindness.BLOWN_OUT


def test_a_live_picture_that_never_changes_is_frozen():
    verdicts = settled((moving(), 1), (picture(5), FROZEN_S + 3), live=True)
    unchanged = verdicts[10:]

    assert unchanged[-1] is Blindness.FROZEN
    assert unchanged.count(None) >= FROZEN_S * 10


def test_a_live_picture_that_changes_a_little_is_not_frozen():
    def noisy():
        image = picture(5)
        image[32, 48] ^= 8
        return image

    flicker = [(noisy if n % 2 else picture(5), 1) for n in range(20)]

    assert set(settled(*flicker, live=True)) == {None}


def test_a_recording_may_show_the_same_picture_for_long():
    assert set(settled((picture(5), FROZEN_S + 3), live=False)) == {None}


def test_a_frozen_camera_that_moves_again_sees():
    verdicts = settled((picture(5), FROZEN_S + 3), (moving(), 2), live=True)

    assert Blindness.FROZEN in verdicts
    assert verdicts[-1] is None


def test_a_recording_that_starts_over_is_looked_at():
    visibility = Visibility(live=False)
    visibility.look(picture(), 500.0)
    for n in range(30):
        visibility.look(DARK, n / 10)

    assert visibility.settled is Blindness.DARK
