"""The gate: a missed budget is searched for the layers that must stay float, and only for these."""

from __future__ import annotations

import json

import cv2
import onnx
import pytest
from onnx import numpy_helper

from calibration.layers import Layer
from calibration.measured import Calibrated
from edge.detector.detector import decode
from edge.detector.letterbox import letterbox
from engines import gate as gating
from engines.build import build
from engines.errors import BudgetError
from engines.evaluation import views
from engines.evaluation.accuracy import run_graph
from engines.evaluation.location import Location
from engines.evaluation.moved_scenes import Followed
from engines.evaluation.places import Count
from engines.gate import Gate
from engines.inspection import Order, understand
from engines.search import encodings
from tests import networks
from tests.unit.test_engines_build import blank, dimmed, nothing_told, undrawn
from tests.unit.test_engines_effects import fainter
from tests.unit.test_engines_images import photos


class Measured:
    """Stands in for the quantiser: each layer in INT8 dims the scores by its noise."""

    def __init__(self, graph, noise):
        self.graph = graph
        self.noise = noise
        self.layers = tuple(Layer(name, 0.1, by, by, 1.0) for name, by in noise.items())
        self.multiplications = 1e6
        self.model, self.last, self.frames = graph, (), blank(graph)

    def encode(self, in_float=None):
        left = {part: (in_float or {}).get(part, ()) for part in ("cpu", "tensorrt")}
        report = {part: {"kept_float": dict.fromkeys(left[part], 0.1)} for part in left}
        cpu, tensorrt = self.encode_cpu(left["cpu"]), self.encode_tensorrt(left["tensorrt"])
        return Calibrated(cpu, tensorrt, report)

    def encode_cpu(self, in_float):
        return dimmed(self.graph, sum(by for n, by in self.noise.items() if n not in in_float))

    def encode_tensorrt(self, in_float):
        return self.graph

    def sparable(self, encoding):
        return {layer.name: [layer] for layer in self.layers}

    def ranges(self, encoding):
        return []

    def rescaled(self, encoding, factors):
        return self

    def alone(self, encoding, name):
        return fainter(self.graph, self.noise[name])


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.onnx"
    onnx.save(networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), path)
    return path


@pytest.fixture
def built(tmp_path, monkeypatch, model):
    undrawn(monkeypatch)

    def run(noise, *, steps=False, **asked):
        monkeypatch.setattr(
            gating, "measure", lambda graph, frames, progress: Measured(graph, noise)
        )
        pictures = photos(tmp_path / "photos", 18)
        adapted = understand(Order(model, "shelf", "1.0.0"))
        said = []
        made = build(
            adapted, [pictures], tmp_path / "out", lambda *what: said.append(what), Gate(**asked)
        )
        return made, said if steps else [what for what, _, _ in said]

    return run


def test_a_budget_that_holds_is_not_searched(built):
    made, said = built({"stem": 0.005})

    assert made.evaluated.searched == {}
    assert not any(what.startswith("searching") for what in said)


@pytest.mark.parametrize(("search", "parts"), [(True, ["cpu", "tensorrt"]), (False, [])])
def test_a_search_chooses_ranges_even_where_the_budget_holds(built, monkeypatch, search, parts):
    chosen = []
    monkeypatch.setattr(encodings, "factors", lambda _, __, part, ___: chosen.append(part) or {})

    built({"stem": 0.005}, search=search)

    assert chosen == parts


def test_the_layer_that_costs_most_stays_float_where_the_budget_is_missed(built):
    made, said = built({"stem": 0.05, "neck": 0.005, "head": 0.004})

    found = made.evaluated.searched["model.onnx"]
    assert found.names == ("stem",)
    assert found.layers[0].cost > 1
    assert made.bundle.passport.calibration["cpu"]["kept_float"] == {"stem": 0.1}
    assert made.bundle.passport.accuracy["budget"]["held"]
    assert "searching model.onnx, 1 layers in float" in said


def test_only_the_graph_that_misses_it_is_searched(built):
    made, _ = built({"stem": 0.05})

    assert list(made.evaluated.searched) == ["model.onnx"]
    assert made.bundle.passport.calibration["tensorrt"]["kept_float"] == {}
    told = made.bundle.passport.accuracy
    assert told["model.onnx"]["search"]["layers"][0]["name"] == "stem"
    assert "search" not in told["model.trt.onnx"]


def test_without_a_search_the_miss_is_refused_with_the_layers_that_lose_most(built, tmp_path):
    with pytest.raises(BudgetError, match=r"unsearched.*Layers that lose most: stem, neck") as said:
        built({"neck": 0.005, "stem": 0.05}, search=False)

    assert "leave --no-search out" in said.value.hint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("search", "views_taken"), [(True, 18), (False, 0)])
def test_a_search_judges_on_views_of_what_shows_something_too(
    built, monkeypatch, search, views_taken
):
    monkeypatch.setattr(views, "ENOUGH", 10**9)

    made, _ = built({"stem": 0.005}, search=search)

    told = made.bundle.passport.accuracy
    assert (told["held_out_frames"], told["views"]) == (6, views_taken)


def test_what_only_float_can_hold_is_refused(built):
    with pytest.raises(BudgetError, match=r"even with 50% of the multiplications in float"):
        built({f"layer{number}": 0.05 for number in range(9)})


@pytest.fixture
def annotations(tmp_path, model):
    """Annotate the photos with what the float model finds: float scores an AP of 1."""

    def write(count):
        pictures = photos(tmp_path / "photos", 18)
        adapted = understand(Order(model, "shelf", "1.0.0"))
        images, objects = [], []
        for number, path in enumerate(sorted(pictures.iterdir())[:count]):
            frame, placement = letterbox(cv2.imread(str(path)), adapted.input)
            found = decode(run_graph(adapted.graph, [frame], nothing_told), 0, placement, 0.5)
            for xyxy, label in zip(found.xyxy.tolist(), found.labels.tolist(), strict=True):
                box = [xyxy[0], xyxy[1], xyxy[2] - xyxy[0], xyxy[3] - xyxy[1]]
                if min(box[2:]) < 1:
                    continue  # in the bars
                objects.append({"image_id": number, "category_id": label, "bbox": box})
            width, height = placement.frame_wh
            image = {"id": number, "file_name": path.name, "width": width, "height": height}
            images.append(image)
        names = [{"id": label, "name": name} for label, name in enumerate(("Box", "can", "tote"))]
        file = tmp_path / "coco.json"
        file.write_text(json.dumps({"images": images, "annotations": objects, "categories": names}))
        return file

    return write


def test_annotated_images_that_were_not_calibrated_on_are_judged_by_map(built, annotations):
    made, _ = built({"stem": 0.001}, annotations=annotations(18))

    told = made.bundle.passport.accuracy
    assert told["float"]["images"] == 6  # 18, less 12 that were calibrated on
    assert told["float"]["ap50"] > 0.9
    assert told["model.onnx"]["average_precision"]["images"] == 6
    assert {"mAP50-95", "AP50"} <= {
        word for check in made.evaluated.verdict.checks for word in check.what.split()
    }


def test_calibration_images_are_never_judged_on(built, annotations, caplog):
    made, _ = built({"stem": 0.001}, annotations=annotations(1))

    # The first image is calibrated on: every third is held out.
    assert "left to judge on, 1 are calibrated on and 0 left out" in caplog.text
    assert made.evaluated.precision is None


# --- the worst place


def fewer_on_the_left(lost_above):
    """Lose what stands on the left in every graph whose scores are lowered by more than that."""

    def evaluate(_scenes, part, graph, _raw):
        dims = [t for t in graph.graph.initializer if t.name == "dim"]
        by = 1 - float(numpy_helper.to_array(dims[0])) if dims else 0.0
        lost = 30 if by > lost_above else 0
        followed = Followed()
        followed.places.add((0, 0), Count(both=40 - lost, lost=lost))
        return Location({part: followed}, {})

    return evaluate


def test_a_graph_that_is_blind_in_one_place_is_searched_though_its_budget_holds(built, monkeypatch):
    monkeypatch.setattr(gating.location, "evaluate", fewer_on_the_left(0.008))

    made, _ = built({"stem": 0.005, "neck": 0.004})

    assert made.evaluated.searched["model.onnx"].names == ("stem",)
    assert list(made.evaluated.searched) == ["model.onnx"]
    assert made.evaluated.verdict.held


def test_a_search_goes_on_where_what_it_ends_with_is_blind_in_one_place(built, monkeypatch):
    monkeypatch.setattr(gating.location, "evaluate", fewer_on_the_left(0.008))

    made, said = built({"stem": 0.018, "neck": 0.006, "head": 0.004, "last": 0.002})

    assert "searching model.onnx, 1 layers in float" in said  # that holds, but for the place
    assert made.evaluated.searched["model.onnx"].names == ("stem", "neck")
    assert made.evaluated.verdict.held


def test_a_graph_that_stays_blind_in_one_place_is_refused(built, monkeypatch):
    monkeypatch.setattr(gating.location, "evaluate", fewer_on_the_left(-1.0))

    with pytest.raises(BudgetError, match=r"lost in the worst cell \(row 1, column 1"):
        built({"stem": 0.005, "neck": 0.004})
