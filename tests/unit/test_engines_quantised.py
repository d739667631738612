"""A model that somebody else quantised is refused, and told whether it detects anything."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from engines.errors import AlreadyQuantised, DetectsNothing
from engines.inspection import Order, understand
from engines.quantised import refuse
from tests import networks
from tests.unit.test_engines_images import photos


def quantised(path, step):
    """Put a Q/DQ pair of this step behind the output, as a quantiser of the whole graph does."""
    model = networks.ultralytics()
    graph = model.graph
    last = next(node for node in graph.node if "output0" in node.output)
    last.output[0] = "before"
    graph.initializer.append(numpy_helper.from_array(np.float32(step), "step"))
    graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
    graph.node.append(helper.make_node("QuantizeLinear", ["before", "step", "zero"], ["whole"]))
    graph.node.append(helper.make_node("DequantizeLinear", ["whole", "step", "zero"], ["output0"]))
    assert graph.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    onnx.save(model, path)
    return Order(path, "model", "1")


def refused(tmp_path, step):
    order = quantised(tmp_path / "model.onnx", step)
    pictures = photos(tmp_path / "photos", 12)
    with pytest.raises(AlreadyQuantised) as at_once:
        understand(order)
    with pytest.raises((AlreadyQuantised, DetectsNothing)) as told:
        refuse(order, [pictures], at_once.value, lambda *_: None)
    return told.value


def test_one_step_for_boxes_and_scores_is_named_as_what_it_is(tmp_path):
    error = refused(tmp_path, step=4.0)

    assert isinstance(error, DetectsNothing)
    assert error.exit_code == 4
    assert "is already quantised and detects nothing: every score is 0 on all 4 images" in str(
        error
    )


def test_one_that_still_detects_is_not_built_from_either(tmp_path):
    error = refused(tmp_path, step=0.25)

    assert isinstance(error, AlreadyQuantised)
    assert error.exit_code == 3
    assert "already quantised (DequantizeLinear, QuantizeLinear); as it is, it has" in str(error)
    assert "export the trained float32 model again" in error.hint


def test_one_that_cannot_be_tried_is_refused_all_the_same(tmp_path):
    order = quantised(tmp_path / "model.onnx", 1.0)
    model = onnx.load(order.model)
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, order.model)
    first = AlreadyQuantised("model: already quantised")

    with pytest.raises(AlreadyQuantised) as told:
        refuse(order, [photos(tmp_path / "photos", 12)], first, lambda *_: None)

    assert told.value is first
