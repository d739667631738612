"""What a first layer's batch normalisation says of the pixels in training."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

from engines.errors import UncertainFamily
from engines.graph import GraphBuilder
from tests import by_hand
from tests.networks_paddle import pp_yoloe

MEAN, STD = 0.45, 0.226


def trained_on(change, *, sums=0.5):
    """Return a PP-YOLOE whose first layer has the statistics of frames that `change` prepares."""
    model = pp_yoloe()
    first = next(node for node in model.graph.node if node.op_type == "Conv")
    kernel = next(t for t in model.graph.initializer if t.name == first.input[1])
    shape = numpy_helper.to_array(kernel).shape
    rng = np.random.default_rng(5)
    weights = rng.normal(sums, 1, shape) / np.prod(shape[1:])
    kernel.CopyFrom(numpy_helper.from_array(weights.astype(np.float32), kernel.name))
    # Grey, as photographs almost are.
    frames = np.stack([by_hand.frame((64, 64), seed)[..., :1] for seed in range(4)])
    frames = np.repeat(frames, 3, axis=3).transpose(0, 3, 1, 2)
    blocks = change(0.1 + 0.8 * frames / 255).reshape(4, 3, 8, 8, 8, 8)
    seen = np.einsum("nchywx,ocyx->onhw", blocks, weights).reshape(len(weights), -1)
    graph = GraphBuilder(model, "norm/")
    ones = graph.constant(np.ones(len(seen)))
    made = graph.op(
        "BatchNormalization", first.output[0], ones, graph.constant(np.zeros(len(seen))),
        graph.constant(seen.mean(1)), graph.constant(seen.var(1)),
    )  # fmt: skip
    node = model.graph.node.pop()
    nodes = list(model.graph.node)
    place = nodes.index(first) + 1
    for reader in nodes[place:]:
        for i, name in enumerate(reader.input):
            if name == first.output[0]:
                reader.input[i] = made
    model.graph.node.insert(place, node)
    return model


@pytest.mark.parametrize(
    ("change", "family"),
    [(lambda x: x, "pp-yoloe-plus"), (lambda x: (x - MEAN) / STD, "pp-yoloe")],
    ids=["0..1", "ImageNet's"],
)
def test_it_tells_the_two_apart_without_asking(tmp_path, change, family):
    adapted = by_hand.understood(tmp_path, trained_on(change))

    assert adapted.family.name == family
    assert "in training its first layer saw" in adapted.recognised.evidence[-1]


def test_the_user_may_know_it_better(tmp_path):
    model = trained_on(lambda x: x)

    assert by_hand.understood(tmp_path, model, family="pp-yoloe").family.name == "pp-yoloe"


@pytest.mark.parametrize(
    "model",
    [trained_on(lambda x: x, sums=0.0), trained_on(lambda x: 2 * x), pp_yoloe()],
    ids=["only edges", "between", "fused"],
)
def test_where_it_does_not_tell_the_user_has_to(tmp_path, model):
    with pytest.raises(UncertainFamily):
        by_hand.understood(tmp_path, model)
