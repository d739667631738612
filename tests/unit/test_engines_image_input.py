"""The image input, however it was exported, becomes float32 (B, 3, H, W)."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from tests import by_hand

FLOAT, UINT8 = TensorProto.FLOAT, TensorProto.UINT8


def summing(shape, kind, *, extra=()):
    """Sum the image over all but its colours, in the axes of `shape`."""
    colours = shape.index(3)
    axes = [axis for axis in range(len(shape)) if axis != colours and axis > len(shape) - 4]
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=FLOAT),
        helper.make_node("ReduceMean", ["real"], ["sums"], axes=axes, keepdims=0),
    ]
    given = [helper.make_tensor_value_info("image", kind, shape)]
    for name, extra_kind, extra_shape in extra:
        given.append(helper.make_tensor_value_info(name, extra_kind, extra_shape))
        nodes.append(helper.make_node("Cast", [name], [f"{name}/out"], to=FLOAT))
    outputs = ["sums", *(f"{name}/out" for name, _, _ in extra)]
    graph = helper.make_graph(
        nodes, "g", given, [helper.make_tensor_value_info(n, FLOAT, None) for n in outputs]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def prepared(folder, model, size_wh=None):
    path = folder / "model.onnx"
    onnx.save(model, path)
    return prepare(load_source(path), size_wh)


@pytest.mark.parametrize(
    ("shape", "kind"),
    [
        ([1, 3, 4, 5], FLOAT),
        ([1, 4, 5, 3], FLOAT),
        ([1, 4, 5, 3], UINT8),
        ([1, 3, 4, 5], UINT8),
        ([3, 4, 5], FLOAT),
        (["n", "h", "w", 3], UINT8),
    ],
    ids=["planes", "channels last", "bytes, channels last", "bytes", "no batch", "open"],
)
def test_every_layout_becomes_planes(tmp_path, shape, kind):
    network = prepared(tmp_path, summing(shape, kind), (5, 4) if "h" in shape else None)

    planes = np.zeros((1, 3, 4, 5), np.float32)
    planes[0, 1] = 7
    assert network.size_wh == (5, 4)
    sums = by_hand.session(network.model).run(["sums"], {"image": planes})[0]
    np.testing.assert_allclose(sums.ravel(), [0, 7, 0])


def test_the_size_that_is_asked_for_is_fed(tmp_path):
    extra = [("orig_target_sizes", TensorProto.INT64, ["n", 2])]
    network = prepared(tmp_path, summing([1, 3, 4, 5], FLOAT, extra=extra))

    assert list(network.inputs) == ["image"]
    planes = np.zeros((1, 3, 4, 5), np.float32)
    fed = by_hand.session(network.model).run(["orig_target_sizes/out"], {"image": planes})[0]
    np.testing.assert_array_equal(fed, [[5, 4]])


def test_all_pixels_count(tmp_path):
    extra = [("pixel_mask", TensorProto.INT64, ["n", "h", "w"])]
    network = prepared(tmp_path, summing([1, 3, 4, 5], FLOAT, extra=extra))

    planes = np.zeros((1, 3, 4, 5), np.float32)
    fed = by_hand.session(network.model).run(["pixel_mask/out"], {"image": planes})[0]
    np.testing.assert_array_equal(fed, np.ones((1, 4, 5)))


def test_an_image_of_another_type_is_refused_by_its_type(tmp_path):
    with pytest.raises(ModelError, match=r"float32 or uint8, found image: int8 \(1, 3, 4, 5\)"):
        prepared(tmp_path, summing([1, 3, 4, 5], TensorProto.INT8))
