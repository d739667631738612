"""The DETR lineage with its post-processing: labels, boxes, scores of a size that is fed."""

from __future__ import annotations

import numpy as np
import pytest

from engines.errors import ModelError
from engines.graph import GraphBuilder
from tests import by_hand
from tests.networks_detr import exported

SIZE = (64, 48)


def test_it_gives_what_the_export_gives(tmp_path):
    model, pixels = exported(), by_hand.frame(SIZE)

    adapted = by_hand.understood(tmp_path, model)

    fed = (pixels[:, :, ::-1].astype(np.float32) / 255).transpose(2, 0, 1)[None]
    inputs = {"images": fed, "orig_target_sizes": np.array([SIZE])}
    labels, boxes, scores = (x[0] for x in by_hand.session(model).run(None, inputs))
    assert adapted.family.name == "detr-exported"
    by_hand.assert_same(by_hand.detected(adapted, pixels), boxes, scores, labels)


def test_the_size_is_no_input_any_more(tmp_path):
    adapted = by_hand.understood(tmp_path, exported())

    assert [value.name for value in adapted.graph.graph.input] == ["frames"]
    assert list(adapted.network.inputs) == ["images"]


def test_labels_are_counted_in_the_pairs(tmp_path):
    assert by_hand.understood(tmp_path, exported(labels=5)).recognised.label_count == 5


def test_on_a_vision_transformer_it_is_fed_normalised(tmp_path):
    adapted = by_hand.understood(tmp_path, exported(patches=True))

    assert adapted.family.name == "detr-exported-vit"
    assert adapted.family.preprocessing.std == (0.229, 0.224, 0.225)


def test_scores_of_something_else_are_refused(tmp_path):
    with pytest.raises(ModelError, match="not the best of a sigmoid"):
        by_hand.understood(tmp_path, exported(joined=False))


def test_outputs_of_other_names_are_refused_by_their_names(tmp_path):
    model = exported()
    (labels,) = (value for value in model.graph.output if value.name == "labels")
    GraphBuilder(model).publish("labels", "classes")
    labels.name = "classes"

    with pytest.raises(ModelError, match=r"its outputs are called .*classes.*, expected labels, "):
        by_hand.understood(tmp_path, model)
