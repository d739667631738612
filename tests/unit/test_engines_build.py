"""A build is all or nothing: a bundle that was checked, or one line and no trace."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.measured import Calibrated
from edge.detector.bundle import load_bundle
from edge.detector.golden import load_golden
from engines import build as building
from engines import cli, gate, inspection
from engines.build import build
from engines.errors import BudgetError, BuildError, DetectsNothing
from engines.evaluation.budget import Budget
from engines.evaluation.location import Location
from engines.gate import Gate
from engines.inspection import Order, understand
from tests import networks
from tests.unit.test_engines_images import photos


def nothing_told(*_):
    pass


class Measured:
    """Stands in for the quantiser: gives what it is told to, so that what is detected is known."""

    layers = ()
    multiplications = 1e6

    def __init__(self, cpu, tensorrt):
        self.cpu, self.tensorrt = cpu, tensorrt
        self.model, self.last, self.frames = cpu, (), blank(cpu)

    def encode(self, in_float=None):
        report = {"cpu": {"kept_float": {}}, "tensorrt": {"kept_float": {}}}
        return Calibrated(self.cpu, self.tensorrt, report)

    def encode_cpu(self, in_float):
        return self.cpu

    def encode_tensorrt(self, in_float):
        return self.tensorrt

    def sparable(self, encoding):
        return {}

    def ranges(self, encoding):
        return []

    def rescaled(self, encoding, factors):
        return self


def blank(contract):
    """Return a black frame for a graph."""
    height, width = (d.dim_value for d in contract.graph.input[0].type.tensor_type.shape.dim[1:3])
    return [np.zeros((height, width, 3), np.uint8)]


def exact(contract):
    return contract


def blinded(contract):
    """Ruin the scores."""
    ruined = onnx.ModelProto()
    ruined.CopyFrom(contract)
    for node in ruined.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type = "Relu"
            node.input[0] = "no"
    ruined.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 84), np.float32), "no"))
    return ruined


def dimmed(contract, by=0.05):
    """Lower every score."""
    ruined = onnx.ModelProto()
    ruined.CopyFrom(contract)
    ruined.graph.initializer.append(numpy_helper.from_array(np.float32(1 - by), "dim"))
    last = next(node for node in ruined.graph.node if "scores" in node.output)
    last.output[0] = "bright"
    ruined.graph.node.append(onnx.helper.make_node("Mul", ["bright", "dim"], ["scores"]))
    return ruined


DRAW, MOVE = building.report.write, gate.location.evaluate


def undrawn(monkeypatch):
    """Leave out what takes most of a build's time, and has its own tests."""
    monkeypatch.setattr(building.report, "write", lambda path, *_: path.write_text("<html>"))
    monkeypatch.setattr(gate.location, "evaluate", lambda *_: Location({}, {}))


@pytest.fixture
def quantiser(monkeypatch):
    undrawn(monkeypatch)

    def use(cpu, tensorrt=exact):
        monkeypatch.setattr(
            gate, "measure", lambda graph, frames, progress: Measured(cpu(graph), tensorrt(graph))
        )

    use(exact)
    return use


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "shelf model.onnx"
    onnx.save(networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    return photos(tmp_path / "photos", 18)


def run(model, pictures, out, **asked):
    adapted = understand(Order(model=model, name="shelf", version="1.2.0"))
    return build(adapted, [pictures], out, nothing_told, Gate(**asked)).bundle


@pytest.fixture
def built(tmp_path, quantiser, model, pictures):
    return lambda **asked: run(model, pictures, tmp_path / "out", **asked)


def test_it_writes_a_bundle_that_loads(tmp_path, quantiser, model, pictures):
    bundle = run(model, pictures, tmp_path / "out")

    passport = bundle.passport
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "bundle.json",
        "golden.npz",
        "model.onnx",
        "model.trt.onnx",
        "report.html",
    ]
    assert (passport.name, passport.version, passport.family) == ("shelf", "1.2.0", "ultralytics")
    assert passport.labels == ("box", "can", "tote")
    assert (passport.input.width, passport.input.letterbox) == (64, "centered")
    assert (passport.max_detections, passport.max_batch) == (84, 16)
    assert passport.iou == 0.7
    assert passport.accuracy["model.onnx"]["recall"] == 1
    assert passport.accuracy["model.onnx"]["reference"] > 0
    assert passport.calibration["images"]["calibrated_on"] == 12
    assert passport.source["file"] == "shelf model.onnx"


def test_the_daemons_user_can_read_it(tmp_path, quantiser, model, pictures):
    run(model, pictures, tmp_path / "out")

    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o755


def test_golden_holds_frames_with_detections_for_float_and_int8(
    tmp_path, quantiser, model, pictures
):
    bundle = run(model, pictures, tmp_path / "out")

    for part in ("float", "model.onnx"):
        golden = load_golden(bundle, part)
        assert 1 <= len(golden.frames) <= 4
        assert (golden.expected.scores.max(axis=1) >= passport_threshold(bundle)).all()


def passport_threshold(bundle):
    return bundle.passport.thresholds.default


def test_the_same_inputs_give_the_same_bytes(tmp_path, quantiser, model, pictures):
    first, second = (run(model, pictures, tmp_path / name).path for name in ("one", "two"))

    assert hashed(first) == hashed(second)


def hashed(folder):
    """Return the files but the report, which shows what was timed."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".html"}


def test_the_report_is_drawn_and_not_hashed(monkeypatch, built):
    monkeypatch.setattr(building.report, "write", DRAW)
    monkeypatch.setattr(gate.location, "evaluate", MOVE)

    bundle = built()

    assert "<html lang=" in (bundle.path / "report.html").read_text("utf-8")
    assert not bundle.has("report.html")
    assert bundle.passport.accuracy["location"]["model.onnx"]


@pytest.mark.parametrize("asked", [{}, {"allow_drop": True}, {"search": False}])
@pytest.mark.parametrize("which", [(blinded, exact), (exact, blinded)])
def test_an_int8_graph_that_detects_nothing_is_refused(tmp_path, quantiser, built, which, asked):
    quantiser(*which)

    with pytest.raises(BudgetError, match=r"the INT8 graph .* detects nothing") as refused:
        built(**asked)

    assert refused.value.exit_code == 4
    assert_no_trace(tmp_path)


@pytest.mark.parametrize("which", [(dimmed, exact), (exact, dimmed)])
def test_a_missed_budget_is_refused_with_what_is_missed(tmp_path, quantiser, built, which):
    quantiser(*which)
    part = "model.onnx" if which[0] is dimmed else "model.trt.onnx"

    with pytest.raises(BudgetError, match="misses its accuracy budget") as refused:
        built()

    assert refused.value.exit_code == 4
    assert f"{part}: score shift of confident detections 0.0" in str(refused.value)
    assert "Labels that lose most: " in str(refused.value)
    assert "--allow-drop" in refused.value.hint
    assert "\n" not in str(refused.value)
    assert_no_trace(tmp_path)


def test_a_missed_budget_may_be_allowed_and_the_passport_says_so(quantiser, built):
    quantiser(dimmed)

    told = built(allow_drop=True).passport.accuracy["budget"]

    assert (told["held"], told["allow_drop"]) == (False, True)
    assert "model.onnx: score shift of confident detections" in told["missed"][0]


def test_a_larger_budget_may_be_asked_for(quantiser, built):
    quantiser(dimmed)

    told = built(budget=Budget(max_score_shift=0.06)).passport.accuracy["budget"]

    assert (told["held"], told["limits"]["max_score_shift"]) == (True, 0.06)


def test_without_tensorrt_its_graph_is_neither_made_nor_judged(quantiser, built):
    quantiser(exact, blinded)

    bundle = built(tensorrt=False)

    assert not bundle.has("model.trt.onnx")
    assert "model.trt.onnx" not in bundle.passport.accuracy
    assert "tensorrt" not in bundle.passport.calibration


def dead(bias):
    """Return a model whose every score is the sigmoid of about `bias`."""
    model = networks.ultralytics()
    for weights in model.graph.initializer:
        if np.allclose(numpy_helper.to_array(weights), -0.5) and weights.dims == [3]:
            weights.CopyFrom(numpy_helper.from_array(np.full(3, bias, np.float32), weights.name))
    return model


@pytest.mark.parametrize(
    ("bias", "said"),
    [
        (-30, r"detects nothing: every score is 0 on all 18 images"),
        (-4, r"detects nothing above 0.25 on any of 18 images: the best score is 0\.\d+ \("),
        (np.nan, r"gives no numbers on 6 of 6 images: NaN first appears in tensor '.*', made by"),
    ],
)
def test_a_model_that_detects_nothing_itself_is_refused(tmp_path, quantiser, pictures, bias, said):
    path = tmp_path / "shelf model.onnx"
    onnx.save(dead(bias), path)

    with pytest.raises(DetectsNothing, match=said) as refused:
        run(path, pictures, tmp_path / "out")

    assert refused.value.exit_code == 4
    assert_no_trace(tmp_path)


@pytest.mark.parametrize(
    ("problem", "seen"),
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (OSError(28, "No space left on device"), BuildError),
    ],
)
def test_whatever_stops_it_nothing_is_left_behind(  # noqa: PLR0917 - a case, and fixtures
    tmp_path, monkeypatch, quantiser, model, pictures, problem, seen
):
    def stop(*_):
        raise problem

    monkeypatch.setattr(building.golden, "write", stop)

    with pytest.raises(seen):
        run(model, pictures, tmp_path / "new" / "deep" / "out")

    assert_no_trace(tmp_path)


def assert_no_trace(folder):
    assert sorted(path.name for path in folder.iterdir()) == ["photos", "shelf model.onnx"]


def test_what_is_there_already_is_not_overwritten(tmp_path, quantiser, model, pictures):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("precious")

    with pytest.raises(BuildError, match="exists already; give a new directory"):
        run(model, pictures, tmp_path / "out")

    assert (tmp_path / "out" / "mine").read_text() == "precious"


def test_an_empty_directory_is_filled_and_a_missing_parent_is_made(
    tmp_path, quantiser, model, pictures
):
    (tmp_path / "empty").mkdir()

    assert run(model, pictures, tmp_path / "empty").labels
    assert load_bundle(run(model, pictures, tmp_path / "new" / "deep" / "out").path)


def test_a_relative_path_is_taken_from_where_the_command_runs(
    tmp_path, monkeypatch, quantiser, model, pictures
):
    monkeypatch.chdir(tmp_path)

    run(model, pictures, Path("bundles/out"))

    assert [path.name for path in (tmp_path / "bundles").iterdir()] == ["out"]


@pytest.mark.parametrize("name", ["file/out", "file/deep/out", "x" * 300])
def test_where_nothing_can_be_written_it_says_so_before_it_builds(
    tmp_path, monkeypatch, model, name
):
    (tmp_path / "file").touch()
    monkeypatch.setattr(building.images, "select", lambda *_: pytest.fail("it began to build"))

    with pytest.raises(BuildError, match=r"cannot be written: .+; give a directory that you may"):
        run(model, tmp_path, tmp_path / name)


def test_the_command_prints_what_it_understood_and_what_it_made(
    tmp_path, quantiser, model, pictures, capsys
):
    status = cli.main([str(model), "--images", str(pictures), "--out", str(tmp_path / "out")])

    printed = capsys.readouterr()
    assert status == 0
    assert "family    ultralytics" in printed.out
    assert "because output 'output0' is (1, 4 + 3, 84)" in printed.out
    assert "float detections kept (1.000)" in printed.out
    assert "shelf-model 1.0.0; try: edge verify" in printed.out
    assert "reading images\n" in printed.err


def test_a_warning_is_one_line_however_narrow_the_terminal(model, monkeypatch, capsys):
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    monkeypatch.setenv("COLUMNS", "40")
    cli.main([str(model), "--explain"])

    logging.getLogger("engines.images").warning("%s: not an image [1]", "long/" * 30)

    assert f"warning: {'long/' * 30}: not an image [1]\n" in capsys.readouterr().err


def test_another_overlap_may_be_asked_for(tmp_path, model, capsys):
    assert cli.main([str(model), "--explain", "--iou", "0.5"]) == 0

    assert "NMS       above IoU 0.5, per label: asked for" in capsys.readouterr().out


def test_explain_needs_no_images_and_writes_nothing(tmp_path, model, capsys):
    assert cli.main([str(model), "--explain"]) == 0

    assert "labels    3: box, can, tote (from the model's metadata" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == [model.name]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["m.onnx"],
        ["m.onnx", "--images", "x"],
        ["m.onnx", "--out", "x"],
        ["m.onnx", "--explain", "--size", "0"],
        ["m.onnx", "--explain", "--size", "64x"],
        ["m.onnx", "--explain", "--name", "../up"],
        ["m.onnx", "--explain", "--iou", "1"],
        ["m.onnx", "--explain", "--iou", "half"],
        ["m.onnx", "--explain", "--colour", "red"],
    ],
)
def test_wrong_usage_exits_2(words):
    with pytest.raises(SystemExit) as stopped:
        cli.main(words)

    assert stopped.value.code == 2


def test_what_the_system_does_not_let_it_do_is_one_line(model, monkeypatch, capsys):
    def denied(*_, **__):
        raise PermissionError(13, "Permission denied", "/srv/photos")

    monkeypatch.setattr(inspection, "load_source", denied)

    assert cli.main([str(model), "--explain"]) == 3
    assert capsys.readouterr().err.startswith("edge-build-engine: /srv/photos: Permission denied; ")


def test_an_error_is_one_line_on_stderr_and_exit_3(tmp_path, capsys):
    status = cli.main([str(tmp_path / "none.onnx"), "--explain"])

    printed = capsys.readouterr()
    assert status == 3
    assert printed.out == ""
    assert printed.err.startswith("edge-build-engine: model ")
    assert printed.err.count("\n") == 1


def test_ctrl_c_exits_130(tmp_path, quantiser, model, pictures, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    quantiser(interrupted)

    status = cli.main([str(model), "--images", str(pictures), "--out", str(tmp_path / "out")])

    assert status == 130
    assert "nothing was written" in capsys.readouterr().err
    assert_no_trace(tmp_path)
