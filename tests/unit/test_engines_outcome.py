"""What a person reads after a build."""

from __future__ import annotations

from engines.outcome import print_table
from engines.search.layers import KeptLayer, Searched


def test_the_layers_that_stay_float_are_a_short_table(capsys):
    layers = [
        KeptLayer(f"/model.{number}/cv1/conv/Conv_output_0", 0.01, 0.002, number / 10, 0.25)
        for number in range(14)
    ]

    print_table(Searched("model.onnx", tuple(layers), 0.8, 31, "after 60 encodings"))

    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == (
        "model.onnx: 14 layers stay float32, 14.0% of the multiplications; 31 encodings tried"
    )
    assert lines[2].split() == ["model.13/cv1", "1.0%", "0.0020", "+130%", "0.25", "ms"]
    assert len(lines) == 2 + 12 + 2
    assert lines[-2:] == [
        "and 2 more, listed in the passport",
        "model.onnx: the search ended after 60 encodings",
    ]


def test_what_was_not_tried_or_timed_is_a_dash(capsys):
    print_table(Searched("model.trt.onnx", (KeptLayer("stem", 0.5, 0.1, None),), 0.8, 3))

    assert capsys.readouterr().out.splitlines()[2].split() == ["stem", "50.0%", "0.1000", "-", "-"]
