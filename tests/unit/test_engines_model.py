"""A model file is read, made plain, and refused in one line where it cannot be built from."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import GraphBuilder, opset_of
from engines.inspection import Order, understand
from engines.reading.model import prepare
from engines.reading.model_file import load_source
from tests import by_hand, networks


def saved(folder, model):
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


def prepared(folder, model, size=None):
    return prepare(load_source(saved(folder, model)), size)


def with_node(op_type, domain="", **changes):
    model = networks.yolox()
    model.graph.node.append(helper.make_node(op_type, ["images"], ["x"], domain=domain))
    return model


def fed_with(shape):
    model = networks.yolox()
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("images", TensorProto.FLOAT, shape))
    return model


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "expected an ONNX graph, found no nodes"),
        (b"PK\x03\x04 a zip, as a .pt file is", "expected an ONNX file, found 28 bytes"),
        (networks.yolox().SerializeToString()[:-400], "or only a part of one"),
        (helper.make_model(helper.make_graph([], "g", [], [])).SerializeToString(), "no nodes"),
    ],
)
def test_a_file_that_is_no_model_is_refused(tmp_path, content, says):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)

    with pytest.raises(ModelError, match=says):
        load_source(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ModelError, match=r"none\.onnx: No such file .*; give the path"):
        load_source(tmp_path / "none.onnx")


def test_weights_in_another_file_are_read(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(networks.yolox(), path, save_as_external_data=True, location="w.data",
                    size_threshold=0)  # fmt: skip

    assert prepare(load_source(path), None).outputs == {"output": ("batch", 84, 8)}


def test_weights_that_were_left_behind_are_named(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save_model(networks.yolox(), path, save_as_external_data=True, location="w.data",
                    size_threshold=0)  # fmt: skip
    (tmp_path / "w.data").unlink()

    with pytest.raises(ModelError, match=r"weights are in another file .*w\.data"):
        load_source(path)


@pytest.mark.parametrize(
    "operator", ["DynamicQuantizeLinear", "ConvInteger", "QLinearConv", "DequantizeLinear"]
)
def test_a_model_that_is_quantised_already_is_refused_with_the_remedy(tmp_path, operator):
    with pytest.raises(ModelError, match=rf"already quantised \({operator}\); export the trained"):
        load_source(saved(tmp_path, with_node(operator)))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        (with_node("EfficientNMS_TRT", "TRT"), "EfficientNMS_TRT of TRT; export it again without"),
        (with_node("BatchedNMS_TRT"), "BatchedNMS_TRT of TensorRT; export it again without"),
        (with_node("NMSDynamic_TRT"), "NMSDynamic_TRT of TensorRT; export it without plugins"),
        (with_node("TRTBatchedNMS", "mmdeploy"), "of mmdeploy; .* deploy configs for ONNX Runtime"),
        (with_node("DCNv2", "mmcv"), "DCNv2 of mmcv; export it without plugins"),
    ],
)
def test_plugins_are_refused_with_the_remedy(tmp_path, model, says):
    with pytest.raises(ModelError, match=says):
        prepared(tmp_path, model)


def halved(model):
    """Weights are shorter than their shape says."""
    tensor = next(tensor for tensor in model.graph.initializer if len(tensor.dims) == 4)
    tensor.data_type, tensor.raw_data = TensorProto.FLOAT16, tensor.raw_data[:2]


def of_nowhere(model):
    model.graph.node[0].domain = "nowhere"


def of_nothing(model):
    del next(node for node in model.graph.node if node.op_type == "Concat").input[:]


@pytest.mark.parametrize(
    ("broken", "says"),
    [
        (halved, "its types or shapes contradict each other"),
        (of_nowhere, "expected standard ONNX operators, found .+ of nowhere"),
        (of_nothing, "ONNX Runtime cannot load it"),
    ],
)
def test_a_model_that_contradicts_itself_is_refused_in_one_line(tmp_path, broken, says):
    model = networks.yolox()
    broken(model)

    with pytest.raises(ModelError, match=f"{says}.*; export ") as refused:
        understand(Order(saved(tmp_path, model), "m", "1"))

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("shape", [[1, 64, 64, 1], [1, 1, 64, 64], [1, 12288]])
def test_an_input_that_is_no_image_is_refused(tmp_path, shape):
    with pytest.raises(ModelError, match="expected an image input"):
        prepared(tmp_path, fed_with(shape))


def test_an_open_size_must_be_given(tmp_path):
    with pytest.raises(ModelError, match=r"size is open \(w x h\); give --size"):
        prepared(tmp_path, fed_with([1, 3, "h", "w"]))


def test_an_open_size_is_filled_in(tmp_path):
    assert prepared(tmp_path, fed_with(["n", 3, "h", "w"]), (64, 64)).size_wh == (64, 64)


def test_an_open_size_is_taken_from_the_metadata(tmp_path):
    model = networks.ultralytics()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "width"
    helper.set_model_props(model, {"imgsz": "[64, 64]"})

    assert prepared(tmp_path, model).size_wh == (64, 64)


def test_a_fixed_size_is_not_changed_in_silence(tmp_path):
    with pytest.raises(ModelError, match="the export is fixed to 64x64"):
        prepared(tmp_path, networks.yolox(), (96, 96))


@pytest.mark.parametrize("opset", [11, 12, 13, 16, 17])
def test_every_opset_is_lifted_to_17(tmp_path, opset):
    # These operators' older forms are the newer ones', but for the axes of Squeeze and its like.
    assert opset_of(prepared(tmp_path, networks.yolox(opset=opset)).model) == 17


def test_an_opset_that_is_stated_twice_is_lifted_too(tmp_path):
    model = networks.yolox(opset=13)
    model.opset_import.extend(list(model.opset_import))

    lifted = prepared(tmp_path, model).model

    assert [(entry.domain, entry.version) for entry in lifted.opset_import] == [("", 17)]


@pytest.mark.parametrize("batch", [1, 4, "n"])
def test_a_batch_baked_into_shapes_becomes_free(tmp_path, batch):
    model = networks.yolox(batch=1 if batch == "n" else batch)
    if batch == "n":
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"

    network = prepared(tmp_path, model)

    assert network.batched
    session = onnxruntime.InferenceSession(network.model.SerializeToString())
    for count in (1, 3):
        found = session.run(None, {"images": np.zeros((count, 3, 64, 64), np.float32)})[0]
        assert found.shape == (count, 84, 8)


def test_a_batch_that_is_counted_with_areas_becomes_free(tmp_path):
    # As YOLO12's attention has it: (1, C, H, W) -> (4, C / 4, H, W) and back.
    model = networks.yolox()
    graph = GraphBuilder(model, "more/")
    areas = graph.op("Softmax", graph.reshape("output", (4, 21, 8)), axis=1)
    replaced(model, graph.reshape(areas, (1, 84, 8)))

    assert prepared(tmp_path, model).batched


def test_a_batch_becomes_free_where_zero_may_mean_zero(tmp_path):
    # As PyTorch's newer exporter says of every Reshape.
    model = networks.yolox()
    for node in model.graph.node:
        if node.op_type == "Reshape":
            node.attribute.append(helper.make_attribute("allowzero", 1))

    assert prepared(tmp_path, model).batched


def test_a_batch_of_constants_joined_to_it_becomes_free(tmp_path):
    # As YOLOv6's objectness is: a column of ones.
    model = networks.yolox()
    graph = GraphBuilder(model, "more/")
    replaced(model, graph.op("Concat", "output", graph.constant(np.ones((1, 84, 1))), axis=2))

    network = prepared(tmp_path, model)

    assert network.batched
    assert network.outputs.popitem()[1] == ("batch", 84, 9)


def replaced(model, tensor):
    """Make a tensor the only output."""
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))


def test_a_batch_that_cannot_be_freed_stays_one(tmp_path):
    model = networks.ultralytics()
    graph = GraphBuilder(model, "more/")
    mixed = graph.op("ReduceMean", "output0", axes=[0], keepdims=1)  # over the frames of a batch
    replaced(model, mixed)

    network = prepared(tmp_path, model)

    assert not network.batched
    assert network.inputs == {"images": (1, 3, 64, 64)}


def test_a_bias_added_behind_a_convolution_is_folded_into_it(tmp_path):
    model = networks.yolox()
    for node in list(model.graph.node):
        if node.op_type == "Conv":
            _unfold(model, node)

    kinds = {node.op_type for node in prepared(tmp_path, model).model.graph.node}

    assert "Add" not in kinds


def _unfold(model, conv):
    """Write Conv + bias as Conv and Add of a reshaped constant."""
    graph = GraphBuilder(model, f"{conv.name}/")
    position = list(model.graph.node).index(conv)
    bias, output = conv.input[2], conv.output[0]
    del conv.input[2]
    conv.output[0] = f"{output}/bare"
    shape = graph.constant([1, -1, 1, 1], np.int64)
    reshape = helper.make_node("Reshape", [bias, shape], [f"{output}/bias"])
    add = helper.make_node("Add", [f"{output}/bare", f"{output}/bias"], [output])
    model.graph.node.insert(position + 1, add)
    model.graph.node.insert(position, reshape)


def test_an_output_whose_shape_is_not_stated_gets_it(tmp_path):
    model = by_hand.simplified(networks.yolox())
    model.graph.output[0].type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]

    network = prepared(tmp_path, model)

    assert network.outputs == {"output": ("batch", networks.anchor_count((64, 64)), 8)}


def test_an_output_without_a_batch_leaves_it_at_one(tmp_path):
    model = networks.yolox()
    graph = GraphBuilder(model, "scalar/")
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info(graph.op("ReduceMax", "output", keepdims=0), 1, [])
    )

    assert not prepared(tmp_path, model).batched


def test_weights_listed_as_inputs_are_no_inputs(tmp_path):
    model = networks.yolox()
    for weights in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(weights.name, weights.data_type, weights.dims)
        )

    assert list(prepared(tmp_path, model).inputs) == ["images"]


def test_metadata_is_read_as_literals_and_never_run(tmp_path):
    model = networks.ultralytics(names={0: "a"})
    helper.set_model_props(model, {"names": "__import__('os').getcwd()", "imgsz": "[64, 64]"})
    source = load_source(saved(tmp_path, model))

    assert source.literal("names") is None
    assert source.literal("imgsz") == [64, 64]
