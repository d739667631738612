"""A plan on a GPU, on doubles of both: what goes in and out, in which order, and what is left."""

import gc
import json
import sys
import threading

import numpy as np
import pytest

from edge.detector.bundle import load_bundle
from edge.detector.detector import Prepared, UnderWay
from edge.detector.runtimes import choose_engine
from edge.detector.tensorrt import TensorRt
from edge.errors import (
    BundleError,
    DeviceLost,
    MissingPackage,
    OutOfDeviceMemory,
    PlanRefused,
    RuntimeFailure,
)
from tests.fakes import tensorrt
from tests.fakes.gpu import Gpu, install
from tests.plans import TENSORRT, write_plan_bundle
from tests.quadrants import picture

pytestmark = pytest.mark.needs("onnxruntime", "onnx", "cv2")


@pytest.fixture(params=[False, True], ids=["discrete", "integrated"])
def gpu(request, monkeypatch):
    gpu = Gpu(integrated=request.param)
    install(monkeypatch, gpu, tensorrt.module(TENSORRT, gpu))
    return gpu


@pytest.fixture
def bundle(tmp_path):
    return load_bundle(write_plan_bundle(tmp_path / "quadrants"))


def frames(*brightness, size_wh=(320, 240)):
    return [picture(*np.roll((250, 200, 150, 100), shift), size_wh=size_wh) for shift in brightness]


def prepared(runtime, bundle, images):
    spec = bundle.passport.input
    return [Prepared(None, *reversed(runtime.prepare(image, spec))) for image in images]


def labels_and_scores(found):
    seen = [one.detections() for _, one in found]
    return [(d.labels.tolist(), d.scores.round(2).tolist()) for d in seen]


def expected(bundle, images):
    """Return what the portable graph finds."""
    spec = bundle.passport.input
    with choose_engine(bundle, "onnxruntime", 1).runtime as runtime:
        under_way = UnderWay(runtime, spec, 0.1)
        found = []
        for image in images:
            under_way.begin(prepared(runtime, bundle, [image]))
            found += under_way.finish()
    return labels_and_scores(found)


def test_a_batch_of_frames_gives_what_the_portable_graph_gives(gpu, bundle):
    images = frames(0, 1, 2)
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        under_way.begin(prepared(runtime, bundle, images))
        found = under_way.finish()

    assert labels_and_scores(found) == expected(bundle, images)
    assert found[0][1].detections().xyxy.max() == 320


def test_two_batches_are_under_way_at_once_and_neither_disturbs_the_other(gpu, bundle):
    images = frames(*range(12))
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        found = []
        for first in range(0, 12, 2):
            under_way.begin(prepared(runtime, bundle, images[first : first + 2]))
            if under_way.full:
                found += under_way.finish()
        while under_way:
            found += under_way.finish()

    assert runtime.in_flight == 2
    assert labels_and_scores(found) == expected(bundle, images)


def test_a_bare_inference_between_batches_disturbs_none(gpu, bundle):
    images = frames(0, 1)
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        for image in images:
            under_way.begin(prepared(runtime, bundle, [image]))
        for _ in range(3):
            runtime.infer(picture(0, 0, 0, 250)[np.newaxis])
        found = under_way.finish() + under_way.finish()

    assert labels_and_scores(found) == expected(bundle, images)


def test_more_batches_than_there_is_memory_for_are_refused(gpu, bundle):
    with TensorRt(bundle) as runtime:
        for _ in range(3):
            runtime.submit(frames(0), bundle.passport.input)
        with pytest.raises(RuntimeError, match="3 batches are under way already"):
            runtime.submit(frames(0), bundle.passport.input)


def test_frames_of_different_cameras_differ_in_size(gpu, bundle):
    images = frames(0) + frames(1, size_wh=(64, 64)) + frames(2, size_wh=(1920, 1080))
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        for _ in range(3):
            under_way.begin(prepared(runtime, bundle, images))
            found = under_way.finish()

    assert labels_and_scores(found) == expected(bundle, images)


def test_a_jetson_uploads_no_frame_once_it_has_page_locked_memory(bundle, monkeypatch):
    gpu = Gpu(integrated=True)
    install(monkeypatch, gpu, tensorrt.module(TENSORRT, gpu))
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        uploaded = []
        for _ in range(3):
            under_way.begin(prepared(runtime, bundle, frames(0)))
            under_way.finish()
            uploaded.append(gpu.uploaded_bytes)

    assert uploaded == [240 * 320 * 3] * 3


def test_a_dropped_frame_gives_its_memory_back(gpu, bundle):
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        for _ in range(20):
            dropped = prepared(runtime, bundle, frames(0))
            del dropped
            under_way.begin(prepared(runtime, bundle, frames(0)))
            under_way.finish()
        pinned = sum(memory.nbytes == 240 * 320 * 3 for memory in gpu.pinned.values())

    assert 1 <= pinned <= 4


def test_outputs_stay_what_they_are_when_other_batches_are_run(gpu, bundle):
    with TensorRt(bundle) as runtime:
        first = runtime.infer(picture(255, 0, 0, 0)[np.newaxis])
        scores = first.scores.copy()
        for _ in range(2):
            runtime.infer(picture(0, 200, 0, 0)[np.newaxis])

    np.testing.assert_array_equal(first.scores, scores)


def test_short_of_page_locked_memory_frames_are_uploaded_slower_and_that_is_said(
    gpu, bundle, caplog
):
    with TensorRt(bundle) as runtime:
        under_way = UnderWay(runtime, bundle.passport.input, 0.1)
        gpu.pinned_memory = sum(map(len, gpu.pinned.values()))
        images = frames(0)
        for _ in range(5):
            under_way.begin(prepared(runtime, bundle, images))
            found = under_way.finish()

    assert labels_and_scores(found) == expected(bundle, images)
    assert caplog.text.count("no more page-locked memory") == 1


def test_nothing_is_left_behind_however_often_it_is_opened(gpu, bundle):
    for _ in range(20):
        with TensorRt(bundle) as runtime:
            under_way = UnderWay(runtime, bundle.passport.input, 0.1)
            for _ in range(2):
                under_way.begin(prepared(runtime, bundle, frames(0)))
                under_way.finish()
            under_way.begin(prepared(runtime, bundle, frames(0)))
            del under_way
    gc.collect()

    assert (gpu.allocated, gpu.stack, gpu.retained) == ({}, [], 0)
    assert gpu.pinned == {}


def test_between_calls_no_context_is_on_the_stack(gpu, bundle):
    with TensorRt(bundle) as runtime:
        assert gpu.stack == []
        runtime.infer(picture(255, 0, 0, 0)[np.newaxis])
        assert gpu.stack == []


def test_only_the_thread_that_opened_it_may_use_it(gpu, bundle):
    caught = []

    def use():
        try:
            runtime.infer(picture(255, 0, 0, 0)[np.newaxis])
        except RuntimeError as error:
            caught.append(str(error))

    with TensorRt(bundle) as runtime:
        thread = threading.Thread(target=use)
        thread.start()
        thread.join(10)

    assert "does not own it" in caught[0]


def test_it_says_what_runs_where(gpu, bundle):
    with TensorRt(bundle) as runtime:
        assert runtime.describe() == "tensorrt 10.3.0, Fake Orin, int8, batches of up to 4"
        assert runtime.max_batch == 4


def rewrite(bundle, **plan):
    path = bundle.path / "bundle.json"
    passport = json.loads(path.read_text())
    passport["plan"] |= plan
    path.write_text(json.dumps(passport))
    return load_bundle(bundle.path)


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"tensorrt": "10.4.0"}, "compiled by TensorRT 10.4.0, here is 10.3.0"),
        ({"compute_capability": "7.2"}, "compiled for compute capability 7.2, here is 8.7"),
        ({"cuda": "12.8"}, "compiled with a driver of CUDA 12.8, here is 12.6"),
        ({"cuda": "13.0"}, "compiled with a driver of CUDA 13.0, here is 12.6"),
    ],
)
def test_a_plan_for_something_else_is_refused_before_tensorrt_sees_it(
    gpu, bundle, monkeypatch, plan, message
):
    monkeypatch.delattr(sys.modules["tensorrt"], "Runtime")
    with pytest.raises(PlanRefused, match=message) as caught:
        TensorRt(rewrite(bundle, **plan)).open()
    assert "edge-build-engine --plan" in caught.value.hint
    assert gpu.retained == 0


def test_a_newer_driver_than_it_was_made_with_will_do(gpu, bundle):
    with TensorRt(rewrite(bundle, cuda="9.2")) as runtime:
        runtime.infer(picture(255, 0, 0, 0)[np.newaxis])


def test_a_build_number_does_not_make_a_plan_foreign(gpu, bundle):
    with TensorRt(rewrite(bundle, tensorrt="10.3.0.26")) as runtime:
        runtime.infer(picture(255, 0, 0, 0)[np.newaxis])


def test_a_plan_that_changed_since_the_bundle_was_read_is_refused(gpu, bundle):
    (bundle.path / "engine.plan").write_bytes(b"other")
    with pytest.raises(PlanRefused, match="sha256"):
        TensorRt(bundle).open()


def write_part(bundle, part, content):
    import hashlib

    (bundle.path / part).write_bytes(content)
    path = bundle.path / "bundle.json"
    passport = json.loads(path.read_text())
    passport["files"][part] = hashlib.sha256(content).hexdigest()
    path.write_text(json.dumps(passport))
    return load_bundle(bundle.path)


def test_a_corrupt_plan_is_refused_with_the_reason_of_tensorrt(gpu, bundle):
    with pytest.raises(PlanRefused, match=r"engine\.plan: TensorRT refuses it: Serialization"):
        TensorRt(write_part(bundle, "engine.plan", b"nonsense")).open()
    assert gpu.retained == 0


def test_a_kernel_for_another_gpu_is_refused(gpu, bundle):
    with pytest.raises(PlanRefused, match="letterbox kernel does not load"):
        TensorRt(write_part(bundle, "letterbox.cubin", b"nonsense")).open()


def test_a_plan_of_another_network_is_refused(gpu, bundle):
    passport = bundle.path / "bundle.json"
    changed = json.loads(passport.read_text()) | {"max_detections": 300}
    passport.write_text(json.dumps(changed))
    with pytest.raises(PlanRefused, match="expected tensors"):
        TensorRt(load_bundle(bundle.path)).open()


def test_no_memory_on_the_gpu_is_said_with_the_next_step(gpu, bundle):
    gpu.memory = 1000
    with pytest.raises(OutOfDeviceMemory, match="out of memory") as caught:
        TensorRt(bundle).open()
    assert "nvidia-smi" in caught.value.hint
    assert (gpu.stack, gpu.retained) == ([], 0)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ("set_tensor_address", "the plan does not take memory for frames"),
        ("set_input_shape", "the plan does not take a batch of 1"),
        ("execute_async_v3", "the plan did not run"),
    ],
)
def test_what_tensorrt_does_not_do_is_said(gpu, bundle, monkeypatch, method, message):
    monkeypatch.setattr(tensorrt.IExecutionContext, method, lambda *_: False)
    with pytest.raises(DeviceLost, match=message) as caught:
        TensorRt(bundle).__enter__().infer(picture(255, 0, 0, 0)[np.newaxis])
    assert "edge verify" in caught.value.hint


@pytest.mark.parametrize("gives", ["nothing", "a runtime that crashes"])
def test_a_tensorrt_that_the_driver_is_too_old_for_is_shown_no_plan(
    gpu, bundle, monkeypatch, gives
):
    def none(logger):
        logger.log(tensorrt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        if gives == "nothing":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return object()

    monkeypatch.setattr(sys.modules["tensorrt"], "Runtime", none)
    with pytest.raises(
        RuntimeFailure, match=r"driver of CUDA 12\.6: CUDA initialization"
    ) as caught:
        TensorRt(bundle).open()
    assert "newer driver" in caught.value.hint
    assert (gpu.stack, gpu.retained) == ([], 0)


def test_no_room_to_run_the_plan_is_said_with_the_next_step(gpu, bundle, monkeypatch):
    monkeypatch.setattr(tensorrt.ICudaEngine, "create_execution_context", lambda _: None)
    with pytest.raises(OutOfDeviceMemory, match="cannot make room") as caught:
        TensorRt(bundle).open()
    assert "tegrastats" in caught.value.hint
    assert (gpu.stack, gpu.retained) == ([], 0)


def test_a_gpu_that_is_lost_is_said_and_closing_does_not_fail(gpu, bundle):
    with TensorRt(bundle) as runtime:
        gpu.lost = True
        with pytest.raises(DeviceLost, match="illegal memory access"):
            runtime.infer(picture(255, 0, 0, 0)[np.newaxis])
    assert (gpu.stack, gpu.retained) == ([], 0)


@pytest.mark.parametrize(
    ("module", "message"), [("tensorrt", "TensorRT cannot be used"), ("pycuda", "needs pycuda")]
)
def test_a_missing_package_is_named_with_how_to_get_it(gpu, bundle, monkeypatch, module, message):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"{module}.driver", raising=False)
    with pytest.raises(MissingPackage, match=message) as caught:
        TensorRt(bundle).open()
    assert "install" in caught.value.hint


def test_without_a_gpu_tensorrt_is_not_even_imported(bundle, monkeypatch):
    gpu = Gpu()
    install(monkeypatch, gpu, None)
    driver = sys.modules["pycuda.driver"]

    def none(flags=0):
        raise driver.RuntimeError("cuInit failed: no CUDA-capable device is detected")

    driver.init = none
    with pytest.raises(RuntimeFailure, match="no CUDA-capable device"):
        TensorRt(bundle).open()


def test_auto_takes_the_plan(gpu, bundle):
    with choose_engine(bundle, "auto", 1).serving(bundle) as serving:
        assert serving.description.startswith("tensorrt 10.3.0")
        assert serving.golden.kept == 1


@pytest.mark.parametrize("harm", ["foreign", "blind", "memory"])
def test_auto_falls_back_to_the_portable_graph_and_says_so(gpu, tmp_path, harm, caplog):
    path = write_plan_bundle(tmp_path / "b", gain=0.0 if harm == "blind" else 1.0)
    bundle = load_bundle(path)
    if harm == "foreign":
        bundle = rewrite(bundle, tensorrt="11.0.0")
    gpu.memory = 1000 if harm == "memory" else gpu.memory
    with choose_engine(bundle, "auto", 1).serving(bundle) as serving:
        assert serving.description.startswith("onnxruntime")
        assert "instead of the plan: " in serving.description
        assert serving.golden.kept == 1
    assert "served by the portable graph instead" in caplog.text
    assert (gpu.allocated, gpu.retained) == ({}, 0)


def test_tensorrt_means_the_plan_or_nothing(gpu, tmp_path):
    bundle = load_bundle(write_plan_bundle(tmp_path / "b", gain=0.0))
    with pytest.raises(BundleError, match="fails its golden on tensorrt"):
        choose_engine(bundle, "tensorrt", 1).serving(bundle).__enter__()


def test_frames_that_wait_when_the_portable_graph_takes_over_are_detected_too(gpu, bundle):
    gpu.memory = 1000
    engine = choose_engine(bundle, "auto", 1)
    waiting = prepared(engine.runtime, bundle, frames(0))
    with engine.serving(bundle) as serving:
        under_way = UnderWay(serving.runtime, bundle.passport.input, 0.1)
        under_way.begin(waiting)
        assert labels_and_scores(under_way.finish()) == expected(bundle, frames(0))
