"""The same network written otherwise, as people export it, detects the same."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import GraphBuilder
from engines.inspection import Order, understand
from tests import by_hand, networks


def turned(model):
    """Rows are candidates: (1, N, 4 + labels)."""
    made = GraphBuilder(model, "turned/").op("Transpose", "output0", perm=[0, 2, 1])
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, None))


def called_frames(model):
    GraphBuilder(model).publish("images", "frames")
    model.graph.input[0].name = "frames"


def with_maps(model):
    """What a convolution gives is put out, too, as by a model that is not told it is exported."""
    made = [node.output[0] for node in model.graph.node if node.op_type == "Conv"]
    for name in made[-2:]:
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))


def with_an_input_that_nothing_reads(model):
    model.graph.input.append(helper.make_tensor_value_info("training", TensorProto.BOOL, []))


def detected(folder, model):
    path = folder / "model.onnx"
    onnx.save(model, path)
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    return by_hand.detected(understand(Order(path, "m", "1")), pixels)


@pytest.mark.parametrize(
    "rewrite", [turned, called_frames, with_maps, with_an_input_that_nothing_reads]
)
def test_it_detects_what_it_detects_as_written_first(tmp_path, rewrite):
    model = networks.ultralytics()
    expected = detected(tmp_path, model)
    rewrite(model)

    for found, wanted in zip(detected(tmp_path, model), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_outputs_that_were_left_out_are_named(tmp_path):
    model = networks.ultralytics()
    with_maps(model)
    onnx.save(model, tmp_path / "model.onnx")

    lines = understand(Order(tmp_path / "model.onnx", "m", "1")).explain()

    first, second = (value.name for value in model.graph.output[1:])
    assert f"changed   its outputs {first!r}, {second!r} were left out" in lines


def test_a_network_that_does_not_run_at_its_size_is_refused_in_one_line(tmp_path):
    model = networks.ultralytics()
    graph = GraphBuilder(model, "thirds/")
    thirds = graph.op("SpaceToDepth", "images", blocksize=3)  # of 64 pixels
    model.graph.node.insert(0, model.graph.node.pop())
    for node in model.graph.node[1:]:
        for position, name in enumerate(node.input):
            node.input[position] = thirds if name == "images" else name

    with pytest.raises(ModelError, match=r"cannot run it at 64x64: .+; check --size") as refused:
        detected(tmp_path, model)

    assert "\n" not in str(refused.value)
