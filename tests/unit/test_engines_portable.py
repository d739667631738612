"""A graph for ONNX Runtime alone gives the numbers of the graph that it was."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.quantise import quantise
from engines.evaluation.report_layers import look_inside
from engines.portable import AS_PRODUCT, portable
from tests import networks, networks_ssd
from tests.unit.test_engines_contract import adapted, frames, session

OUTPUTS = ["boxes", "scores", "labels"]


@pytest.fixture(scope="module", params=[False, True], ids=["apart", "joined"])
def contract_graph(request, tmp_path_factory):
    model = networks.ultralytics(bins=4, joined=request.param)
    return adapted(tmp_path_factory.mktemp("float"), model)


@pytest.fixture(scope="module")
def encoded(contract_graph):
    return quantise(contract_graph, list(frames(4))).cpu


def products(model):
    found = [node.name for node in model.graph.node if node.name.endswith(AS_PRODUCT)]
    return [name.removesuffix(AS_PRODUCT) for name in found]


def changed(model, change):
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    change(copy.graph)
    return copy


@pytest.mark.parametrize("batch", [1, 3])
def test_it_detects_the_same(batch, contract_graph, encoded):
    fed = {"frames": frames(batch, seed=8)}
    for graph in (contract_graph, encoded):
        expected = session(graph).run(OUTPUTS, fed)
        found = session(portable(graph)).run(OUTPUTS, fed)

        assert (expected[1] > 0).sum() > 5 * batch
        for mine, theirs in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-5)


def test_all_heads_in_float_behind_integers_are_products_of_pixels(encoded):
    ops = {node.op_type for node in portable(encoded).graph.node}

    assert len(products(portable(encoded))) == 6
    assert "GatherElements" not in ops


def test_nms_is_the_operator_whatever_calibration_did_to_the_graph(encoded):
    ops = [node.op_type for node in portable(encoded).graph.node]

    assert ops.count("NonMaxSuppression") == 1
    assert "HardSigmoid" not in ops


def test_heads_whose_channels_are_brought_last_need_not_be(tmp_path):
    contract_graph = adapted(tmp_path, networks_ssd.ssd())
    encoded = quantise(contract_graph, list(frames(4, (64, 48)))).cpu
    faster = portable(encoded)
    fed = {"frames": frames(2, (64, 48), seed=8)}

    assert len(products(faster)) == 6
    expected, found = (session(graph).run(OUTPUTS, fed) for graph in (encoded, faster))
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_heads_behind_floats_stay_convolutions(contract_graph):
    assert products(portable(contract_graph)) == []


def test_heads_that_see_more_than_a_pixel_stay_convolutions(encoded):
    first = products(portable(encoded))[0]

    def widen(graph):
        (conv,) = (node for node in graph.node if node.output[0] == first)
        (stored,) = (t for t in graph.initializer if t.name == conv.input[1])
        wide = np.pad(numpy_helper.to_array(stored), [(0, 0), (0, 0), (1, 1), (1, 1)])
        stored.CopyFrom(numpy_helper.from_array(wide, stored.name))
        del conv.attribute[:]
        conv.attribute.append(onnx.helper.make_attribute("pads", [1, 1, 1, 1]))

    assert first not in products(portable(changed(encoded, widen)))


def test_heads_that_something_else_reads_stay_convolutions(encoded):
    first = products(portable(encoded))[0]

    def read(graph):
        graph.node.append(onnx.helper.make_node("Relu", [first], ["else"]))
        graph.output.append(onnx.helper.make_empty_tensor_value_info("else"))

    assert first not in products(portable(changed(encoded, read)))


def test_heads_of_which_some_rows_are_picked_only_stay_convolutions(encoded):
    def pick_fewer(graph):
        tile = next(node for node in graph.node if node.op_type == "Tile")
        (repeats,) = (t for t in graph.initializer if t.name == tile.input[1])
        fewer = numpy_helper.to_array(repeats) - [0, 1, 0]
        repeats.CopyFrom(numpy_helper.from_array(fewer, repeats.name))

    assert len(products(portable(changed(encoded, pick_fewer)))) < 6


def test_the_report_still_counts_and_shows_them(contract_graph, encoded):
    shown = {"before": encoded, "after": portable(encoded)}

    inside = look_inside(contract_graph, shown, frames(1)[0])

    assert inside["after"].convolutions == inside["before"].convolutions
    assert inside["after"].integer == inside["before"].integer
    layers = {part: sorted(layer.name for layer in seen.layers) for part, seen in inside.items()}
    assert layers["after"] == layers["before"]
