"""A bundle is trusted only when every byte of it is what its passport says, and it detects."""

import errno
import json
import threading
from pathlib import Path

import numpy as np
import pytest

from edge.detector.bundle import load_bundle
from edge.detector.golden import hold_to_golden
from edge.detector.runtimes import choose_engine
from edge.errors import BundleError, RuntimeFailure
from tests.quadrants import BOXES, LABELS, graph, picture, write_bundle

pytest.importorskip("onnxruntime")


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "quadrants")


def rewrite(bundle, **changes):
    passport = json.loads((bundle / "bundle.json").read_text()) | changes
    (bundle / "bundle.json").write_text(json.dumps(passport))


def test_a_whole_bundle_loads(bundle):
    loaded = load_bundle(bundle)
    assert loaded.labels == LABELS
    assert loaded.passport.input.resolution_wh == (64, 64)


def test_it_passes_its_golden(bundle):
    loaded = load_bundle(bundle)
    with choose_engine(loaded, "auto", 1).runtime as runtime:
        result = hold_to_golden(loaded, runtime, "model.onnx")
    assert (result.kept, result.phantom, result.frames) == (1, 0, 4)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda b: (b / "model.onnx").write_bytes(b"x"), "model.onnx: sha256 .* is not"),
        (lambda b: (b / "model.onnx").unlink(), "model.onnx: No such file"),
        (lambda b: (b / "bundle.json").unlink(), "bundle.json: No such file"),
        (lambda b: (b / "bundle.json").write_text("{"), "bundle.json: file: Invalid JSON"),
        (lambda b: rewrite(b, labels=[]), "bundle.json: labels: "),
        (lambda b: rewrite(b, wheels=4), "bundle.json: wheels: Extra inputs"),
        (lambda b: rewrite(b, files={}), "lists no model.onnx"),
        (
            lambda b: rewrite(b, files={"../../etc/passwd": "0" * 64} | passport_files(b)),
            "unknown file '../../etc/passwd'",
        ),
    ],
)
def test_a_damaged_bundle_is_refused_by_name(bundle, harm, message):
    harm(bundle)
    with pytest.raises(BundleError, match=message) as caught:
        load_bundle(bundle)
    assert "\n" not in str(caught.value)


def passport_files(bundle):
    return json.loads((bundle / "bundle.json").read_text())["files"]


@pytest.mark.parametrize("path", ["missing", "quadrants/model.onnx"])
def test_what_is_no_directory_is_no_bundle(bundle, path):
    with pytest.raises(BundleError, match="expected a directory"):
        load_bundle(bundle.parent / path)


def test_a_path_that_cannot_be_looked_at_is_named_with_the_reason(bundle):
    with pytest.raises(BundleError, match=r"bundle .*: File name too long; let this user"):
        load_bundle(bundle / ("x" * 300))


@pytest.mark.parametrize("name", ["bundle.json", "model.onnx"])
def test_a_file_that_this_user_may_not_read_is_not_asked_to_be_built_again(
    bundle, monkeypatch, name
):
    opened = Path.open

    def forbid(path, *how, **more):
        if path.name == name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *how, **more)

    monkeypatch.setattr(Path, "open", forbid)
    with pytest.raises(BundleError, match=rf"{name}: Permission denied; let this user read it"):
        load_bundle(bundle)


@pytest.mark.parametrize("gain", [0.0, 0.5])
def test_a_bundle_that_no_longer_detects_fails_its_golden(tmp_path, gain):
    loaded = load_bundle(write_bundle(tmp_path / "b", gain=gain))
    with (
        choose_engine(loaded, "auto", 1).runtime as runtime,
        pytest.raises(BundleError, match="fails its golden on onnxruntime"),
    ):
        hold_to_golden(loaded, runtime, "model.onnx")


def test_a_passport_with_fewer_labels_than_the_model_detects_is_refused(bundle):
    rewrite(bundle, labels=LABELS[:1])
    loaded = load_bundle(bundle)
    with (
        choose_engine(loaded, "auto", 1).runtime as runtime,
        pytest.raises(BundleError, match=r"names 1 labels, its model detects at least \d; give"),
    ):
        hold_to_golden(loaded, runtime, "model.onnx")


def test_a_golden_that_is_no_archive_is_refused(bundle):
    loaded = load_bundle(bundle)
    (bundle / "golden.npz").write_bytes(b"PK nonsense")
    with (
        choose_engine(loaded, "auto", 1).runtime as runtime,
        pytest.raises(BundleError, match="cannot read the golden"),
    ):
        hold_to_golden(loaded, runtime, "model.onnx")


def test_a_graph_that_is_no_contract_graph_is_refused(tmp_path):
    from edge.detector.onnxruntime import OnnxRuntime

    with pytest.raises(RuntimeFailure, match="not a contract graph"):
        OnnxRuntime(graph().SerializeToString(), (32, 32, 3), 1).open()


@pytest.mark.parametrize(
    ("flags", "widened"),
    [("fpu avx2", True), ("avx512_vnni", False), ("avx2 avx_vnni", False), (None, True)],
)
def test_products_are_widened_where_the_cpu_would_saturate(tmp_path, flags, widened):
    from edge.detector.onnxruntime import exact_products

    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
    assert bool(exact_products(tmp_path / "cpuinfo")) is widened


def test_garbage_is_no_graph():
    from edge.detector.onnxruntime import OnnxRuntime

    with pytest.raises(RuntimeFailure, match="cannot load a graph in memory"):
        OnnxRuntime(b"garbage", (32, 32, 3), 1).open()


def test_the_runtime_checks_what_goes_in(bundle):
    with (
        choose_engine(load_bundle(bundle), "auto", 1).runtime as runtime,
        pytest.raises(ValueError, match="expected uint8"),
    ):
        runtime.infer(np.zeros((1, 8, 8, 3), np.uint8))


def test_bright_quadrants_are_found(bundle):
    with choose_engine(load_bundle(bundle), "auto", 1).runtime as runtime:
        raw = runtime.infer(picture(255, 0, 0, 255)[np.newaxis])
    assert raw.scores.round(3).tolist() == [[1, 1, 0, 0]]
    assert raw.labels[0, :2].tolist() == [0, 1]


def test_tensorrt_is_not_promised_where_it_is_not_there(bundle):
    with pytest.raises(RuntimeFailure, match="runtime tensorrt"):
        choose_engine(load_bundle(bundle), "tensorrt", None)


@pytest.mark.parametrize(("threads", "at_once"), [(1, 1), (2, 1), (3, 1), (4, 2), (8, 4)])
def test_half_as_many_frames_are_under_way_as_there_are_threads(bundle, threads, at_once):
    assert choose_engine(load_bundle(bundle), "auto", threads).runtime.in_flight == at_once


@pytest.mark.parametrize("threads", [1, 4])
def test_each_frame_gives_its_own_in_order_however_many_are_under_way(bundle, threads):
    bright = [0, 3, 1, 2, 2]
    frames = [picture(*(255 * (quadrant == q) for q in range(4))) for quadrant in bright]
    with choose_engine(load_bundle(bundle), "auto", threads).runtime as runtime:
        found = [raw.boxes[0, 0].tolist() for raw in runtime.infer_each(frames)]
    assert found == BOXES[bright].tolist()


def test_frames_begun_beside_one_another_give_each_its_own(bundle):
    told = threading.Semaphore(0)
    with choose_engine(load_bundle(bundle), "auto", 4).runtime as runtime:
        pictures = [picture(255, 0, 0, 0), picture(0, 0, 0, 255)]
        begun = [runtime.begin(image[np.newaxis], told.release) for image in pictures]
        assert told.acquire(timeout=5)
        assert told.acquire(timeout=5)
        found = [pending.outputs().labels[0, 0] for pending in begun]
    assert found == [0, 1]
    assert all(pending.is_done() for pending in begun)
