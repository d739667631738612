"""Labels come from a file, from the model, or are numbered; their number must be right."""

from __future__ import annotations

import onnx
import pytest

from engines.errors import BuildError
from engines.labels import find_labels
from engines.reading.model_file import load_source
from tests import networks

LABEL_MAP = """
item {
  name: "/m/1"
  id: 1
  display_name: "box"
}
item { id: 3 name: 'tote' } item { id: 2 name: 'can' }
"""


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
        ("config.json", '{"id2label": {"0": "box", "1": "can", "2": "tote"}, "d_model": 256}'),
        ("l.yaml", "names: {0: box, 1: can, 2: tote}"),
        ("l.yml", "- box\n- can\n- tote"),
        ("l.pbtxt", LABEL_MAP),
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


COCO = ["person", *(f"n{i}" for i in range(2, 80)), "toothbrush"]


@pytest.mark.parametrize(("count", "first"), [(90, 1), (91, 0)])
def test_the_80_names_of_coco_stand_at_its_ids_where_a_model_counts_by_these(
    tmp_path, source, count, first
):
    file = tmp_path / "coco.names"
    file.write_text("\n".join(COCO), encoding="utf-8")

    names, where = find_labels(source(), count, file)

    by_id = dict(enumerate(names, first))
    # COCO: 1 person, 11 fire hydrant, the eleventh; 13 stop sign, the twelfth; 90 toothbrush.
    assert (by_id[1], by_id[11], by_id[13]) == ("person", "n11", "n12")
    assert (by_id[12], by_id[90]) == (f"class_{12 - first}", "toothbrush")
    assert [name for name in names if not name.startswith("class_")] == COCO
    assert where == f"{file}, at COCO's ids, of which 10 have no name"


def test_a_label_maps_gaps_are_numbered(tmp_path, source):
    file = tmp_path / "map.pbtxt"
    file.write_text('item { id: 1 name: "box" } item { id: 3 name: "tote" }', encoding="utf-8")

    assert find_labels(source(), 3, file)[0] == ("box", "class_1", "tote")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("l.txt", "box\ncan", "expected 3, as the model's output has, found 2"),
        ("l.txt", "a\nb\nc\nd", "found 4"),
        (
            "l.txt",
            "box\ncan\nbox",
            "none twice, .+; found .box. 2 times",
        ),
        ("l.json", '["box", "can", " "]', "found ' ' 1 times"),
        ("l.json", "{", "cannot be read"),
        ("l.yaml", "names: {0: box, 2: can}", "without gaps"),
        ("l.yaml", "!!python/object/apply:os.getcwd []", "cannot be read"),
        ("l.json", "3", "expected a list"),
        ("l.pbtxt", "person", "expected item"),
        ("l.pbtxt", "item { id: 4000000000 name: 'box' }", "expected item"),
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


def test_names_in_the_model_that_cannot_be_read_are_not_passed_over(source):
    names, where = find_labels(source("box, can"), 2, None)

    assert names == ("class_0", "class_1")
    assert "the model has some that cannot be read; give --labels FILE" in where


def test_eighty_outputs_without_names_are_not_taken_for_coco(source):
    names, where = find_labels(source(), 80, None)

    assert names[0] == "class_0"
    assert len(names) == 80
    assert "give --labels FILE" in where
