"""A build is all or nothing: a bundle that was checked, or one line and no trace."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.quantise import Calibrated
from edge.detector.bundle import load_bundle
from edge.detector.golden import load_golden
from engines import build as building
from engines import cli
from engines.build import build
from engines.errors import BuildError
from engines.inspection import Order, understand
from tests import networks
from tests.unit.test_engines_images import photos


def nothing_told(*_):
    pass


def unquantised(contract, frames, *, progress=None):
    """Stand in for the quantiser: the float graph, so that what it detects is known."""
    return Calibrated(cpu=contract, tensorrt=None, report={"method": "none"})


def blinded(contract, frames, *, progress=None):
    """Stand in for a quantiser that ruins the scores."""
    ruined = onnx.ModelProto()
    ruined.CopyFrom(contract)
    for node in ruined.graph.node:
        if node.op_type == "Sigmoid":
            node.op_type = "Relu"
            node.input[0] = "no"
    ruined.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 84), np.float32), "no"))
    return Calibrated(cpu=ruined, tensorrt=None, report={})


@pytest.fixture
def quantiser(monkeypatch):
    def use(function):
        monkeypatch.setattr(building, "quantise", function)

    use(unquantised)
    return use


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "shelf model.onnx"
    onnx.save(networks.ultralytics(names={0: "box", 1: "can", 2: "tote"}), path)
    return path


@pytest.fixture
def pictures(tmp_path):
    return photos(tmp_path / "photos", 18)


def run(model, pictures, out):
    adapted = understand(Order(model=model, name="shelf", version="1.2.0"))
    return build(adapted, [pictures], out, nothing_told).bundle


@pytest.fixture
def built(tmp_path, quantiser, model, pictures):
    return lambda: run(model, pictures, tmp_path / "out")


def test_it_writes_a_bundle_that_loads(tmp_path, quantiser, model, pictures):
    bundle = run(model, pictures, tmp_path / "out")

    passport = bundle.passport
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "bundle.json",
        "golden.npz",
        "model.onnx",
    ]
    assert (passport.name, passport.version, passport.family) == ("shelf", "1.2.0", "ultralytics")
    assert passport.labels == ("box", "can", "tote")
    assert (passport.input.width, passport.input.letterbox) == (64, "centered")
    assert (passport.max_detections, passport.max_batch) == (84, 8)
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
    quantiser(lambda graph, frames, *, progress: Calibrated(graph, graph, {}))

    first, second = (run(model, pictures, tmp_path / name).path for name in ("one", "two"))

    assert {file.name: file.read_bytes() for file in first.iterdir()} == {
        file.name: file.read_bytes() for file in second.iterdir()
    }


def test_an_int8_graph_that_detects_nothing_is_refused(tmp_path, quantiser, model, pictures):
    quantiser(blinded)

    with pytest.raises(BuildError, match=r"the INT8 graph .* detects nothing"):
        run(model, pictures, tmp_path / "out")

    assert_no_trace(tmp_path)


def test_a_tensorrt_graph_that_detects_the_same_is_shipped(quantiser, built):
    quantiser(lambda graph, frames, *, progress: Calibrated(graph, graph, {}))

    bundle = built()

    assert bundle.has("model.trt.onnx")
    assert bundle.passport.accuracy["model.trt.onnx"]["recall"] == 1
    assert load_golden(bundle, "model.trt.onnx").expected.scores.max() > 0


def test_a_tensorrt_graph_that_does_not_is_left_out_and_said_so(quantiser, built, caplog):
    quantiser(lambda graph, frames, *, progress: Calibrated(graph, blinded(graph, frames).cpu, {}))

    bundle = built()

    assert not bundle.has("model.trt.onnx")
    assert list(bundle.passport.accuracy) == ["held_out_frames", "threshold", "model.onnx"]
    assert "model.trt.onnx is left out: it keeps 0.000" in caplog.text


def test_a_model_that_detects_nothing_is_refused(tmp_path, quantiser, pictures):
    path = tmp_path / "shelf model.onnx"
    dead = networks.ultralytics()
    for weights in dead.graph.initializer:
        if np.allclose(numpy_helper.to_array(weights), -0.5) and weights.dims == [3]:
            weights.CopyFrom(numpy_helper.from_array(np.full(3, -30, np.float32), weights.name))
    onnx.save(dead, path)

    with pytest.raises(BuildError, match=r"detects nothing above 0.25 on any of 18 images"):
        run(path, pictures, tmp_path / "out")

    assert_no_trace(tmp_path)


@pytest.mark.parametrize(
    ("problem", "seen"),
    [
        (KeyboardInterrupt, KeyboardInterrupt),
        (OSError(28, "No space left on device"), BuildError),
    ],
)
def test_whatever_stops_it_nothing_is_left_behind(tmp_path, monkeypatch, built, problem, seen):
    def stop(*_):
        raise problem

    monkeypatch.setattr(building.golden, "write", stop)

    with pytest.raises(seen):
        built()

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
