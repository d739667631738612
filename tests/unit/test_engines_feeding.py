"""How a network is fed is inferred, said, and may be said otherwise."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines import cli
from engines.feeding import Feeding
from engines.graph import GraphBuilder
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


def normalising(model, *, kind=TensorProto.FLOAT, planes=True, swap=None, divisor=255.0):
    """Let an export begin with what its users would else do: a frame of 0..255 goes in."""
    image, trained = model.graph.input[0], list(model.graph.node)
    batch, _, height, width = (d.dim_value for d in image.type.tensor_type.shape.dim)
    shape = [batch, 3, height, width] if planes else [batch, height, width, 3]
    del model.graph.node[:]
    graph = GraphBuilder(model, "own/")
    pixels = graph.op("Cast", "raw", to=TensorProto.FLOAT)
    if not planes:
        pixels = graph.op("Transpose", pixels, perm=[0, 3, 1, 2])
    if swap == "Gather":
        pixels = graph.op("Gather", pixels, graph.constant([2, 1, 0], np.int64), axis=1)
    if swap == "Slice":
        bounds = (graph.constant([n], np.int64) for n in (-1, -9, 1, -1))
        pixels = graph.op("Slice", pixels, *bounds)
    graph.op("Div", pixels, graph.constant(divisor))
    model.graph.node[-1].output[0] = image.name
    model.graph.node.extend(trained)
    image.CopyFrom(helper.make_tensor_value_info("raw", kind, shape))
    return model


@pytest.mark.parametrize(
    ("begins", "fed"),
    [
        ({}, "RGB"),
        ({"kind": TensorProto.UINT8}, "RGB"),
        ({"kind": TensorProto.UINT8, "planes": False}, "RGB"),
        ({"planes": False, "swap": "Gather"}, "BGR"),
        ({"swap": "Slice"}, "BGR"),
    ],
)
def test_what_the_graph_does_to_pixels_itself_is_not_done_twice(tmp_path, model, begins, fed):
    usual = understand(Order(model, "m", "1"))
    onnx.save(normalising(networks.ultralytics(), **begins), tmp_path / "own.onnx")
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)

    own = understand(Order(tmp_path / "own.onnx", "m", "1"))

    assert f"colours   {fed} (from the family; else: --colours)" in own.explain()
    assert any(
        "takes pixels in 0..255 and normalises them itself" in line for line in own.explain()
    )
    expected = by_hand.detected(usual, frame)
    for found, wanted in zip(by_hand.detected(own, frame), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_colours_that_the_graph_swaps_are_not_swapped_before_it(tmp_path, model):
    usual = understand(Order(model, "m", "1"))
    swapping = normalising(networks.ultralytics(), swap="Gather", divisor=1.0)
    onnx.save(swapping, tmp_path / "own.onnx")
    frame = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)

    own = understand(Order(tmp_path / "own.onnx", "m", "1"))

    assert "its graph swaps the colours itself" in own.recognised.evidence
    expected = by_hand.detected(usual, frame)
    for found, wanted in zip(by_hand.detected(own, frame), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


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
