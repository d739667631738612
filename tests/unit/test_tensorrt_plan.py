"""A plan is compiled, proven and kept, on doubles: of the GPU, of TensorRT of each generation."""

import hashlib
import itertools
import json
import logging
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge.detector.bundle import load_bundle
from edge.detector.runtimes import plan_engine
from engines import cli, on_device
from engines.build_log import BuildLog
from engines.errors import BuildError
from engines.half import _as_half, half, without_quantisation
from engines.on_device import add_plan
from engines.plan import Limits
from tests.fakes import tensorrt
from tests.fakes.gpu import CUBIN, Gpu, install
from tests.plans import write_portable_bundle

pytestmark = pytest.mark.needs("onnxruntime", "onnx")

VERSIONS = ["8.6.1", "10.3.0", "11.4.0"]


def nothing_told(*_):
    pass


@pytest.fixture
def quirks():
    return tensorrt.Quirks()


@pytest.fixture
def gpu():
    return Gpu()


@pytest.fixture(params=VERSIONS)
def version(request):
    return request.param


@pytest.fixture
def here(monkeypatch, gpu, quirks):
    """Let this be a machine with a GPU, and TensorRT of that version."""

    def use(version):
        install(monkeypatch, gpu, tensorrt.module(version, gpu, quirks))
        monkeypatch.setattr(on_device, "compile_kernel", lambda compute_capability: CUBIN)
        monkeypatch.setattr(on_device, "WARM_UP_S", 0.0)
        monkeypatch.setattr(on_device, "ROUNDS", 4)

    return use


@pytest.fixture
def bundle(tmp_path):
    return load_bundle(write_portable_bundle(tmp_path / "quadrants"))


def write_part(path, part, content):
    (path / part).write_bytes(content)
    passport = json.loads((path / "bundle.json").read_text())
    passport["files"][part] = hashlib.sha256(content).hexdigest()
    (path / "bundle.json").write_text(json.dumps(passport))


def compiled(bundle, told=nothing_told, **limits):
    return add_plan(bundle, Limits(4, bundle.path, **limits), told)


def test_it_puts_a_plan_into_the_bundle_that_passes_its_golden(here, gpu, bundle, version):
    here(version)

    plan = compiled(bundle)

    assert plan.passport.plan.tensorrt == version
    assert plan.passport.plan.compute_capability == "8.7"
    assert plan.passport.plan.max_batch == 4
    assert set(plan.passport.plan.milliseconds) == {"int8", "fp16"}
    with plan_engine(plan).serving(plan) as serving:
        assert serving.golden.kept == 1
    assert (gpu.allocated, gpu.stack, gpu.retained) == ({}, [], 0)


def test_the_faster_one_is_kept(here, bundle, monkeypatch):
    here("10.3.0")
    times = {"int8": 3.0, "fp16": 2.0}
    monkeypatch.setattr(on_device, "_median_ms", lambda _, b: times[b.passport.plan.precision])

    assert compiled(bundle).passport.plan.precision == "fp16"
    times["int8"] = 1.0
    assert compiled(load_bundle(bundle.path)).passport.plan.precision == "int8"


def test_no_plan_is_timed_before_the_clocks_have_risen(here, bundle, monkeypatch):
    here("10.3.0")
    monkeypatch.setattr(on_device, "WARM_UP_S", 0.5)
    clock = itertools.count(0, 0.1)
    monkeypatch.setattr(on_device, "time", SimpleNamespace(perf_counter=lambda: next(clock)))

    assert compiled(bundle).passport.plan.milliseconds == {"int8": 100.0, "fp16": 100.0}
    assert next(clock) > 2 * (0.5 + on_device.ROUNDS * 0.2)


def test_networks_are_strongly_typed_where_they_can_be(here, quirks, bundle, version):
    here(version)
    compiled(bundle)

    (int8, int8_config), (_, fp16_config) = quirks.built
    if version == "8.6.1":
        assert int8._flags == 1 << 0
        assert int8_config._flags == {"INT8", "FP16", "OBEY_PRECISION_CONSTRAINTS"}
        assert fp16_config._flags == {"FP16", "OBEY_PRECISION_CONSTRAINTS"}
    else:
        assert int8._flags == 1 << 1
        assert int8_config._flags == fp16_config._flags == set()


def test_before_strong_types_the_tail_is_float32_layer_by_layer(here, quirks, tmp_path):
    here("8.6.1")
    path = write_portable_bundle(tmp_path / "b")
    write_part(path, "model.trt.onnx", convolution().SerializeToString())

    with pytest.raises(BuildError):  # its outputs are no contract's; how it was built is seen
        compiled(load_bundle(path))

    layers = {layer.name: layer._output_types for layer in quirks.built[0][0]._layers}
    constant = "{} + (Unnamed Layer) [Constant]".format
    assert layers["Mul_6"] == layers[constant("factor")] == {0: tensorrt.DataType.FLOAT}
    assert layers["Conv_5"] == layers[constant("bias")] == layers["Transpose_1"] == {}


def test_a_batch_that_is_written_into_the_graph_is_the_only_one(here, quirks, tmp_path):
    here("10.3.0")
    path = write_portable_bundle(tmp_path / "b")
    fixed = onnx.load(path / "model.trt.onnx")
    for value in (*fixed.graph.input, *fixed.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    write_part(path, "model.trt.onnx", fixed.SerializeToString())

    plan = compiled(load_bundle(path))

    assert quirks.built[0][1]._profiles == []
    with plan_engine(plan).serving(plan) as serving:
        assert serving.runtime.max_batch == 1


def test_the_profile_takes_one_to_the_largest_batch(here, quirks, bundle):
    here("10.3.0")
    compiled(bundle)

    (profile,) = quirks.built[0][1]._profiles
    assert profile._shapes["frames"] == ((1, 64, 64, 3), (1, 64, 64, 3), (4, 64, 64, 3))


@pytest.mark.parametrize(("asked_mb", "given"), [(None, 1 << 28), (100, 100 << 20)])
def test_memory_is_limited(here, quirks, bundle, asked_mb, given):
    here("10.3.0")
    compiled(bundle, workspace_mb=asked_mb)

    (limit,) = quirks.built[0][1]._limits.values()
    assert limit == given


def test_what_the_builder_warns_of_is_in_the_passport_and_in_the_log(here, quirks, bundle):
    here("10.3.0")
    quirks.warnings = ["Skipping tactic 3 due to insufficient memory"] * 2 + ["weights\nare odd"]

    plan = compiled(bundle).passport.plan

    assert plan.warnings == (
        "Skipping tactic 3 due to insufficient memory", "weights are odd"
    )  # fmt: skip
    log = bundle.path.with_name("quadrants.int8.log").read_text()
    assert log.count("WARNING: Skipping tactic 3") == 2


def test_a_tensorrt_that_the_driver_is_too_old_for_is_said(here, quirks, bundle, monkeypatch):
    here("10.3.0")

    def none(logger):
        logger.log(tensorrt.ILogger.ERROR, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")

    monkeypatch.setattr(sys.modules["tensorrt"], "Builder", none)

    with pytest.raises(BuildError, match=r"10\.3\.0 cannot build here: CUDA initialization"):
        compiled(bundle)


def test_a_failed_build_says_why_and_leaves_the_bundle_alone(here, quirks, gpu, bundle):
    here("10.3.0")
    quirks.fails = "Could not find any implementation for node Conv_7"
    before = (bundle.path / "bundle.json").read_bytes()

    with pytest.raises(BuildError, match="Could not find any implementation for node Conv_7"):
        compiled(bundle)

    assert (bundle.path / "bundle.json").read_bytes() == before
    assert not (bundle.path / "engine.plan").exists()
    assert "Conv_7" in bundle.path.with_name("quadrants.int8.log").read_text()
    assert gpu.retained == 0


def test_a_plan_that_detects_something_else_is_not_kept(here, tmp_path):
    here("10.3.0")
    blind = load_bundle(write_portable_bundle(tmp_path / "blind", gain=0.0))

    with pytest.raises(BuildError, match=r"no plan detects here .* int8: .*fails its golden"):
        compiled(blind)

    assert load_bundle(blind.path).passport.plan is None


def test_short_of_memory_is_a_warning_however_low_it_is_said(tmp_path):
    with BuildLog(tmp_path / "log") as said:
        said.take(logging.DEBUG, "Tactic 7: insufficient memory, 4 GB wanted")
        said.take(logging.INFO, "Skipping tactic 3 due to insufficient memory")
        said.take(logging.DEBUG, "Skipping tactic 4: no valid kernel")

    assert [line[:8] for line in said.warnings()] == ["Tactic 7", "Skipping"]


def test_of_very_many_warnings_it_is_said_how_many_are_left_out(tmp_path):
    with BuildLog(tmp_path / "b.int8.log") as said:
        for number in range(103):
            said.take(logging.WARNING, f"warning {number}")

    assert said.warnings()[-2:] == ("warning 99", "and 3 more, in b.int8.log")
    assert (tmp_path / "b.int8.log").read_text().count("\n") == 103


def test_a_builder_that_is_killed_leaves_its_log(tmp_path):
    with BuildLog(tmp_path / "log") as said:
        said.take(logging.INFO, "Global timing cache in use")

        assert (tmp_path / "log").read_text() == "INFO: Global timing cache in use\n"


def test_a_log_that_cannot_be_written_does_not_stop_the_build(tmp_path, caplog):
    with BuildLog(tmp_path / "missing" / "log") as said:
        said.take(logging.ERROR, "no kernel")

    assert said.reason() == "no kernel"
    assert "the builder's log is lost" in caplog.text


def test_timings_of_another_device_are_begun_anew_and_that_is_said(here, bundle, caplog):
    here("10.3.0")
    cache = bundle.path.with_name("quadrants.timing-cache")
    cache.write_bytes(b"of another GPU")

    compiled(bundle)

    assert "timing-cache is of another device or version" in caplog.text
    assert cache.read_bytes() == b"timings"


def test_what_was_timed_helps_the_next_build(here, quirks, bundle):
    here("10.3.0")
    compiled(bundle)
    assert bundle.path.with_name("quadrants.timing-cache").read_bytes() == b"timings"

    compiled(load_bundle(bundle.path))

    assert quirks.built[-1][1]._cache._content == b"timings"


def test_progress_is_shown_where_the_builder_tells_it(here, bundle, version):
    here(version)
    told = []
    compiled(bundle, lambda *what: told.append(what))

    step = ("compiling int8: Building Engine", 1, 2)
    assert (step in told) == (version != "8.6.1")
    assert any(what.startswith("compiling fp16") for what, *_ in told)


def test_a_dla_is_used_when_asked_for_and_what_falls_back_is_listed(here, quirks, bundle):
    here("10.3.0")

    plan = compiled(bundle, dla=1).passport.plan

    (config,) = {id(c): c for _, c in quirks.built[:1]}.values()
    assert (config.DLA_core, config._flags) == (1, {"GPU_FALLBACK"})
    assert plan.dla["core"] == 1
    assert plan.dla["layers"] == 0
    assert len(plan.dla["on_gpu"]) >= 8
    assert plan.max_batch == 1


def test_a_dla_that_is_not_there_is_refused(here, bundle):
    here("10.3.0")
    with pytest.raises(BuildError, match="--dla 2: this device has 2 DLA cores"):
        compiled(bundle, dla=2)


def test_a_bundle_without_the_graph_is_refused_before_anything_else(tmp_path):
    from tests.quadrants import write_bundle

    with pytest.raises(BuildError, match=r"holds no model\.trt\.onnx"):
        compiled(load_bundle(write_bundle(tmp_path / "b")))


def test_every_moment_of_putting_it_there_leaves_a_whole_bundle(here, bundle, monkeypatch):
    here("10.3.0")
    compiled(bundle)
    first = load_bundle(bundle.path)
    steps = []
    replace = on_device._replace

    def watched(path, content):
        replace(path, content)
        if path.parent == bundle.path:
            steps.append(load_bundle(bundle.path).has("engine.plan"))

    monkeypatch.setattr(on_device, "_replace", watched)
    compiled(first)

    assert steps == [False, False, False, True]


def test_the_command_says_which_plan_it_kept(here, bundle, capsys):
    here("10.3.0")
    assert cli.main(["--plan", str(bundle.path)]) == 0
    said = capsys.readouterr().out
    assert "plan for Fake Orin, TensorRT 10.3.0: " in said
    assert load_bundle(bundle.path).passport.plan is not None


def test_the_command_without_a_gpu_is_one_line_and_exit_3(bundle, capsys):
    assert cli.main(["--plan", str(bundle.path)]) == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "the GPU needs" in error


def convolution():
    """Return a contract-like graph: a quantised convolution, then a tail in float32."""
    rng = np.random.default_rng(0)

    def constant(name, value):
        return numpy_helper.from_array(np.asarray(value), name)

    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["pixels"], ["image"], perm=[0, 3, 1, 2]),
        helper.make_node("QuantizeLinear", ["image", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["dq"]),
        helper.make_node("DequantizeLinear", ["w", "w_scale", "w_zero"], ["weights"], axis=0),
        helper.make_node("Conv", ["dq", "weights", "bias"], ["made"]),
        helper.make_node("Mul", ["made", "factor"], ["out"]),
    ]
    scales = rng.uniform(0.01, 0.02, 4).astype(np.float32)
    initializers = [
        constant("scale", np.float32(2.0)),
        constant("zero", np.int8(0)),
        constant("w", rng.integers(-127, 127, (4, 3, 3, 3), np.int8)),
        constant("w_scale", scales),
        constant("w_zero", np.zeros(4, np.int8)),
        constant("bias", rng.uniform(-1, 1, 4).astype(np.float32)),
        constant("factor", np.float32(0.5)),
    ]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    frames = np.random.default_rng(1).integers(0, 256, (2, 8, 8, 3), np.uint8)
    return session.run(None, {"frames": frames})[0]


def types(model):
    inferred = onnx.shape_inference.infer_shapes(model).graph
    return {v.name: v.type.tensor_type.elem_type for v in (*inferred.value_info, *inferred.output)}


def test_the_body_becomes_float16_and_the_tail_stays_float32():
    halved = half(convolution())

    kinds = types(halved)
    assert kinds["made"] == kinds["dq"] == kinds["weights"] == TensorProto.FLOAT16
    assert kinds["q"] == TensorProto.INT8
    assert kinds["out"] == kinds["made/as_float"] == TensorProto.FLOAT
    wanted = run(convolution())
    # Runtimes differ in how they add up float16 products: up to 0.02 of the range was seen.
    np.testing.assert_allclose(run(halved), wanted, rtol=0, atol=0.03 * np.abs(wanted).max())


def norm():
    """Return a contract-like graph: pixels, a norm over channels, a convolution."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "gain"], ["image"]),
        helper.make_node("Pow", ["image", "two"], ["squares"]),
        helper.make_node("ReduceMean", ["squares", "axes"], ["mean"]),
        helper.make_node("Add", ["mean", "epsilon"], ["above_zero"]),
        helper.make_node("Sqrt", ["above_zero"], ["norm"]),
        helper.make_node("Div", ["image", "norm"], ["normed"]),
        helper.make_node("Transpose", ["normed"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "w"], ["made"]),
        helper.make_node("Identity", ["made"], ["out"]),
    ]
    values = {
        "gain": np.float32(4.0),
        "two": np.float32(2.0),
        "epsilon": np.float32(1e-12),
        "axes": np.array([3], np.int64),
        "w": np.random.default_rng(0).uniform(-1, 1, (4, 3, 3, 3)).astype(np.float32),
    }
    graph = helper.make_graph(
        nodes,
        "norm",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", 8, 8, 3])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["batch", 4, 6, 6])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_the_squares_of_a_norm_stay_float32_up_to_its_root():
    halved = half(norm())

    kinds = types(halved)
    assert {kinds[name] for name in ("squares", "mean", "above_zero", "norm")} == {1}
    assert {kinds[name] for name in ("image", "normed", "made")} == {TensorProto.FLOAT16}
    np.testing.assert_allclose(run(halved), run(norm()), rtol=0, atol=0.02)


@pytest.mark.parametrize(
    ("value", "held"),
    [(-1e9, -65504.0), (np.float32(3.4e38), 65504.0), (-np.inf, -np.inf), (0.0, 0.0), (2.5, 2.5)],
)
def test_constants_stay_within_float16(value, held):
    assert _as_half(np.float32([value]))[0] == held


def test_an_epsilon_stays_above_zero():
    assert _as_half(np.float32(1e-12)) > 0


def test_scales_that_float16_cannot_hold_stay_float32():
    model = convolution()
    for tensor in model.graph.initializer:
        if tensor.name == "w_scale":
            tensor.CopyFrom(numpy_helper.from_array(np.full(4, 1e-6, np.float32), "w_scale"))

    halved = half(model)

    assert types(halved)["weights"] == TensorProto.FLOAT
    assert types(halved)["made"] == TensorProto.FLOAT16
    np.testing.assert_allclose(run(halved), run(model), rtol=2e-3, atol=1e-3)


def test_fp16_alone_runs_the_same_network_without_quantisation():
    bare = without_quantisation(convolution())

    assert not {n.op_type for n in bare.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    difference = np.abs(run(bare) - run(convolution()))
    assert 0 < difference.max() < 30
