"""The frames that INT8 is judged on show something, and calibration has not seen them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest

from engines.errors import DetectsNothing
from engines.evaluation import held_out
from engines.images import Selection
from tests.raw import raw_detections

BOX = (10, 10, 30, 30)


def frame(number):
    return np.full((64, 64, 3), number, np.uint8)


def selection(calibration, held):
    return Selection(
        calibration=[frame(number) for number in calibration],
        held_out=[frame(number) for number in held],
        looked_at=len(calibration) + len(held),
        duplicates=0,
        unreadable=[],
    )


@pytest.fixture
def chosen(monkeypatch):
    """Return what chooses, where the float model sees something in frames `seen` only."""

    def choose(calibration, held, seen, score=0.9):
        monkeypatch.setattr(
            held_out,
            "run_graph",
            lambda graph, frames, told: raw_detections(
                *([(BOX, score if f[0, 0, 0] in seen else 0.01, 0)] for f in frames)
            ),
        )
        adapted = SimpleNamespace(
            graph=onnx.ModelProto(), order=SimpleNamespace(model=Path("shelf.onnx"))
        )
        return held_out.choose(adapted, selection(calibration, held), [], lambda *_: None)

    return choose


def numbers(frames):
    return [int(f[0, 0, 0]) for f in frames]


def test_what_was_held_out_is_judged_on_where_it_shows_something(chosen):
    kept, held = chosen([1, 2, 3], [7, 8], seen={8})

    assert (numbers(kept.calibration), numbers(held.frames)) == ([1, 2, 3], [7, 8])
    assert held.raw.scores[:, 0].tolist() == pytest.approx([0.01, 0.9])


def test_else_calibration_gives_away_every_other_frame_that_does(chosen, caplog):
    kept, held = chosen([1, 2, 3, 4], [7, 8], seen={2, 3, 4})

    assert numbers(held.frames) == [7, 8, 2, 4]
    assert numbers(kept.calibration) == [1, 3]
    assert held.raw.scores[:, 0].tolist() == pytest.approx([0.01, 0.01, 0.9, 0.9])
    assert kept.summary()["held_out"] == 4
    assert "detects nothing on 2 held-out images" in caplog.text


def test_where_no_frame_shows_anything_the_model_is_refused(chosen):
    with pytest.raises(DetectsNothing, match=r"on any of 5 images: the best score is 0\.01"):
        chosen([1, 2, 3], [7, 8], seen=set())


def test_more_frames_are_judged_on_but_nobody_has_annotated_them():
    held = held_out.HeldOut([frame(7)], [truth := object()], raw_detections([(BOX, 0.9, 0)]))

    both = held_out.joined(held, [frame(8)], raw_detections([(BOX, 0.4, 1)]))

    assert numbers(both.frames) == [7, 8]
    assert both.truths == [truth, None]
    assert both.raw.scores[:, 0].tolist() == pytest.approx([0.9, 0.4])
