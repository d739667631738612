"""Labels come from a file, from the model, or are numbered; their number must be right."""

from __future__ import annotations

import onnx
import pytest

from engines.errors import BuildError
from engines.labels import find_labels
from engines.model import load_source
from tests import networks


@pytest.fixture
def source(tmp_path):
    def make(names=None):
        path = tmp_path / "model.onnx"
        onnx.save(networks.ultralytics(names=names), path)
        return load_source(path)

    return make


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.txt", "box\ncan\n\n tote \n"),
        ("l.names", "\ufeffbox\r\ncan\r\ntote"),
        ("l.json", '["box", "can", "tote"]'),
        ("l.json", '{"names": {"0": "box", "1": "can", "2": "tote"}}'),
        ("l.yaml", "names: {0: box, 1: can, 2: tote}"),
        ("l.yml", "- box\n- can\n- tote"),
    ],
)
def test_a_file_is_read_in_its_usual_forms(tmp_path, source, name, text):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    assert find_labels(source(), 3, file)[0] == ("box", "can", "tote")


@pytest.mark.parametrize("first", ["BACKGROUND", "__background__", "background"])
def test_the_background_that_an_ssds_file_begins_with_is_left_out(tmp_path, source, first):
    file = tmp_path / "labels.txt"
    file.write_text(f"{first}\nbox\ncan\ntote", encoding="utf-8")

    names, origin = find_labels(source(), 3, file)

    assert names == ("box", "can", "tote")
    assert origin == f"{file}, without its first, {first!r}"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("l.txt", "box\ncan", "expected 3, as the model's output has, found 2"),
        ("l.txt", "a\nb\nc\nd", "found 4"),
        ("l.json", "{", "cannot be read"),
        ("l.yaml", "names: {0: box, 2: can}", "without gaps"),
        ("l.yaml", "!!python/object/apply:os.getcwd []", "cannot be read"),
        ("l.json", "3", "expected a list"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, source, name, text, says):
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")

    with pytest.raises(BuildError, match=says):
        find_labels(source(), 3, file)


def test_a_missing_file_is_refused(tmp_path, source):
    with pytest.raises(BuildError, match="cannot be read"):
        find_labels(source(), 3, tmp_path / "none.txt")


def test_the_models_own_names_are_taken(source):
    names, where = find_labels(source({0: "box", 1: "can", 2: "tote"}), 3, None)

    assert names == ("box", "can", "tote")
    assert where == "the model's metadata"


def test_the_models_own_names_must_be_as_many_as_its_outputs(source):
    with pytest.raises(BuildError, match="found 1"):
        find_labels(source({0: "box"}), 3, None)


def test_eighty_outputs_without_names_are_not_taken_for_coco(source):
    names, where = find_labels(source(), 80, None)

    assert names[0] == "class_0"
    assert len(names) == 80
    assert "give --labels FILE" in where
