"""A layer that stays in float reads what is float, whatever else reads the same in 8 bits."""

import numpy as np
import pytest
from onnx import helper, numpy_helper

from calibration.quantise import measure
from tests.calibration_network import frames, network, scores


def residual():
    """Return a network of two blocks, whose sums are summed: r1 + c3, and that + c5."""
    rng = np.random.default_rng(2)
    model = network()
    del model.graph.node[3:]
    padded = {"pads": [1, 1, 1, 1]}
    for name, inside in {"a1": 3, "a2": 8, "a3": 8, "a4": 8, "a5": 8, "a6": 8}.items():
        values = rng.normal(0, 0.6 / inside**0.5, (8, inside, 3, 3)).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    last = rng.normal(0, 0.2, (4, 8, 1, 1)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(last, "a7"))
    model.graph.node.extend([
        helper.make_node("Conv", ["pixels", "a1"], ["c1"], **padded),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "a2"], ["c2"], **padded),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("Conv", ["r2", "a3"], ["c3"], **padded),
        helper.make_node("Add", ["r1", "c3"], ["sum"]),
        helper.make_node("Conv", ["sum", "a4"], ["c4"], **padded),
        helper.make_node("Relu", ["c4"], ["r4"]),
        helper.make_node("Conv", ["r4", "a5"], ["c5"], **padded),
        helper.make_node("Add", ["sum", "c5"], ["total"]),
        helper.make_node("Conv", ["total", "a6"], ["c6"], **padded),
        helper.make_node("Relu", ["c6"], ["r6"]),
        helper.make_node("Conv", ["r6", "a7"], ["c7"]),
        helper.make_node("Sigmoid", ["c7"], ["scores"]),
    ])  # fmt: skip
    return model


@pytest.fixture(scope="module")
def measured():
    return measure(residual(), frames())


def inputs_of(graph):
    return {node.output[0]: list(node.input) for node in graph.graph.node}


def test_a_layer_that_reads_a_sum_takes_along_what_makes_its_parts(measured):
    taken = {
        name: [layer.name for layer in layers] for name, layers in measured.sparable("cpu").items()
    }

    assert taken["c4"] == ["c1", "c3", "c4"]


def test_of_a_sum_of_a_sum_only_the_last_part_is_taken_along(measured):
    taken = [layer.name for layer in measured.sparable("cpu")["c6"]]

    assert taken == ["c5", "c6"]


def test_it_reads_in_float_what_others_read_in_8_bits(measured):
    read = inputs_of(measured.encode_cpu(["c2"]))

    assert read["c2"][0] == "r1"
    assert read["sum"][0] == "r1/dq"


def test_in_8_bits_it_reads_what_is_rounded(measured):
    read = inputs_of(measured.encode_cpu(["c4"]))

    assert read["c4"][0] == "sum"
    assert read["c2"][0] == "r1/dq"
    assert read["c3"][0] == "r2/dq"


def test_all_layers_in_float_are_the_float_network(measured):
    graph = measured.encode_cpu([layer.name for layer in measured.layers])

    np.testing.assert_allclose(
        scores(graph, frames()), scores(residual(), frames()), rtol=0, atol=1e-5
    )
