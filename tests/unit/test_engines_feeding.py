"""How a network is fed is inferred, said, and may be said otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engines import cli
from engines.feeding import Feeding
from engines.inspection import Order, understand
from tests import by_hand, networks


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(networks.ultralytics(), path)
    return path


def explained(model, capsys, *words):
    assert cli.main([str(model), "--explain", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_everything_inferred_is_printed_with_how_to_say_otherwise(model, capsys):
    lines = explained(model, capsys)

    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        "family",
        "graph",
        "input",
        "letterbox",
        "colours",
        "fed",
        "NMS",
        "labels",
        "batch",
    ]
    assert "letterbox centered on grey 114 (from the family; else: --letterbox --pad)" in lines
    assert "colours   RGB (from the family; else: --colours)" in lines
    assert "graph     opset 17, taken as 17; float32 inside (from the file)" in lines
    assert lines[-1].startswith("batch     1 to 16")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--letterbox", "stretch", "--pad", "0"), "letterbox stretch on grey 0 (asked for)"),
        (("--colours", "BGR"), "colours   BGR (asked for)"),
        (
            ("--scale", "1", "--mean", "1,2,3", "--std", "4,5,6"),
            "fed with  (pixel * 1 - (1.0, 2.0, 3.0)) / (4.0, 5.0, 6.0) (asked for)",
        ),
    ],
)
def test_it_may_be_said_otherwise(model, capsys, words, line):
    assert line in explained(model, capsys, *words)


def test_what_is_asked_for_is_in_the_graph_and_in_the_bundle(model):
    usual = understand(Order(model, "m", "1"))
    other = understand(Order(model, "m", "1", feeding=Feeding(colours="BGR", letterbox="stretch")))
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)

    assert other.input.letterbox == "stretch"
    assert usual.input.letterbox == "centered"
    expected = by_hand.detected(usual, frame[:, :, ::-1])
    for found, wanted in zip(by_hand.detected(other, frame), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


@pytest.mark.parametrize(
    "words",
    [
        ("--pad", "256"),
        ("--scale", "0"),
        ("--mean", "1,2"),
        ("--std", "1,0,1"),
        ("--colours", "GBR"),
        ("--max-map-drop", "-1"),
        ("--max-score-shift", "nan"),
    ],
)
def test_wrong_words_exit_2(model, words):
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(model), "--explain", *words])

    assert stopped.value.code == 2
