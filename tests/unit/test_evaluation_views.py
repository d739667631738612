"""Where the held-out frames show little, they are looked at otherwise, too."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from engines.evaluation import views
from engines.evaluation.held_out import HeldOut
from engines.evaluation.views import widened
from tests.raw import raw_detections

BOX = (10, 20, 30, 40)
PAD = 114
ADAPTED = SimpleNamespace(input=SimpleNamespace(pad=PAD))


@pytest.fixture
def frames():
    """Return a frame that shows something, and one that does not: bars above and below."""
    generator = np.random.default_rng(0)
    shown = np.full((64, 64, 3), PAD, np.uint8)
    shown[14:50] = generator.integers(0, 100, (36, 64, 3), dtype=np.uint8)
    return [shown, shown // 2]


@pytest.fixture
def widen(monkeypatch, frames):
    """Widen those frames, of which the first shows so many confident detections."""

    def run(confident, multiplications=1e6):
        found = [(BOX, 0.9, 0)] * confident + [(BOX, 0.3, 0)]
        monkeypatch.setattr(
            views, "float_detections", lambda _, more, __: raw_detections(*[found for _ in more])
        )
        held = HeldOut(frames, [object(), None], raw_detections(found, [(BOX, 0.1, 0)]))
        return widened(ADAPTED, held, multiplications, lambda *_: None)

    return run


def test_each_frame_that_shows_something_is_mirrored_moved_and_seen_from_nearer(widen, frames):
    held = widen(confident=1)

    assert (len(held.frames), held.views) == (5, 3)
    assert held.told == "2 held-out images and 3 views of them"
    _, _, mirrored, moved, nearer = held.frames
    assert (mirrored == frames[0][:, ::-1]).all()
    assert (moved[19:50, 7:] == frames[0][14:45, :-7]).all()
    assert (moved[14:19] == PAD).all()
    assert not (nearer == mirrored)[14:50].all()


def test_the_bars_of_the_letterbox_stay_where_they_are(widen):
    for frame in widen(confident=1).frames[2:]:
        assert (frame[:14] == PAD).all()
        assert (frame[50:] == PAD).all()


def test_what_the_verdict_rests_on_is_what_the_images_themselves_show(widen):
    assert widen(confident=2).confident == 2


def test_nobody_has_annotated_a_view(widen):
    assert [truth is None for truth in widen(confident=1).truths] == [False, True, True, True, True]


@pytest.mark.parametrize(("confident", "count"), [(2, 4), (3, 3), (5, 3), (6, 2)])
def test_only_as_many_views_are_taken_as_the_verdict_needs(widen, monkeypatch, confident, count):
    monkeypatch.setattr(views, "ENOUGH", 6)

    assert len(widen(confident).frames) == count


def test_of_a_large_network_no_view_is_taken(widen):
    assert len(widen(confident=1, multiplications=4e11).frames) == 2
