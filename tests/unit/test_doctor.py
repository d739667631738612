"""`edge doctor` names what a machine has, and what each missing thing is for and how to get it."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from edge.board import Board, this_board
from edge.cli import main
from edge.config import Config, MqttConfig
from edge.tools import finding as findings
from edge.tools import probes
from edge.tools.doctor import with_verdict_on_runtimes
from edge.tools.finding import Finding, ProbeFailed, Verdict, ask, isolated

ORIN = Board("NVIDIA Jetson Orin Nano", "36.4.0")
PC = Board("x86_64 PC")
NO_DRIVER = Finding("CUDA driver", Verdict.NOT_HERE, "no libcuda.so.1")


@pytest.mark.parametrize(
    ("release", "says", "supported"),
    [
        ("# R35 (release), REVISION: 4.1, GCID: 1", "JetPack 5 (Jetson Linux 35.4.1)", False),
        ("# R36 (release), REVISION: 4.0, GCID: 1", "JetPack 6 (Jetson Linux 36.4.0)", True),
        ("# R38 (release), REVISION: 2.0, GCID: 1", "JetPack 7 (Jetson Linux 38.2.0)", True),
        ("# R99 (release), REVISION: 1.0", "a JetPack not known here (Jetson Linux 99.1.0)", True),
    ],
)  # fmt: skip
def test_a_jetson_is_known_by_its_release(tmp_path, release, says, supported):
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_bytes(b"NVIDIA Jetson Orin Nano\0")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/nv_tegra_release").write_text(release)

    board = this_board(tmp_path)

    assert (str(board), board.supported) == (f"NVIDIA Jetson Orin Nano, {says}", supported)


def test_a_machine_without_a_release_is_a_pc(tmp_path):
    assert this_board(tmp_path).l4t is None


def test_jetpack_5_is_named_as_unsupported():
    finding = probes.machine(Board("Jetson Xavier", "35.4.1"))

    assert finding.verdict is Verdict.FAILS
    assert "not supported" in finding.remedy


@pytest.mark.parametrize(
    ("cpuinfo", "verdict"),
    [
        ("model name\t: EPYC\nflags\t\t: avx2 avx512_vnni\n", Verdict.OK),
        ("model name\t: Core\nflags\t\t: avx2 avx_vnni\n", Verdict.OK),
        ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", Verdict.OK),
        ("model name\t: Old\nflags\t\t: sse2 avx2\n", Verdict.WARNING),
        ("", Verdict.WARNING),
    ],
)
def test_a_cpu_without_the_int8_dot_product_is_a_warning(tmp_path, cpuinfo, verdict):
    (tmp_path / "cpuinfo").write_text(cpuinfo)

    assert probes.processor(tmp_path / "cpuinfo").verdict is verdict


def test_the_remedy_of_an_opencv_of_numpy_1_is_numpy_1(monkeypatch):
    monkeypatch.setattr(probes, "ask", refuse("ImportError: numpy.core.multiarray failed"))

    assert "install 'numpy<2'" in probes.opencv(ORIN, None).remedy


@pytest.mark.parametrize(("board", "remedy"), [(ORIN, "apt install nvidia-opencv"), (PC, "[cpu]")])
def test_the_remedy_is_the_one_of_this_board(monkeypatch, board, remedy):
    monkeypatch.setattr(probes, "ask", refuse("No module named 'cv2'"))

    finding = probes.opencv(board, None)

    assert finding.verdict is Verdict.FAILS
    assert remedy in finding.remedy


def refuse(why: str):
    def ask(*_: str):
        raise ProbeFailed(why)

    return ask


@pytest.mark.parametrize(
    ("board", "source", "verdict"),
    [
        (PC, "rtsp://10.0.0.1/x", Verdict.OK),
        (PC, "gst://videotestsrc", Verdict.FAILS),
        (ORIN, "rtsp://10.0.0.1/x", Verdict.WARNING),
        (ORIN, "csi://0", Verdict.FAILS),
    ],
)
def test_an_opencv_without_gstreamer_fails_where_a_camera_needs_it(
    monkeypatch, board, source, verdict
):
    monkeypatch.setattr(probes, "ask", lambda *_: ["4.8.0", False, True])
    config = Config.model_validate(
        {
            "bundle": "/b",
            "cameras": [{"name": "a", "source": source, "aisles": [{"id": "1"}]}],
            "mqtt": {"host": "b"},
        }
    )

    assert probes.opencv(board, config).verdict is verdict


def test_tensorrt_is_not_touched_before_the_driver_answers(monkeypatch):
    monkeypatch.setattr(probes, "ask", lambda *_: pytest.fail("imported without a driver"))

    finding = probes.gpu_package("TensorRT", "tensorrt", PC, NO_DRIVER)

    assert finding.verdict is Verdict.NOT_HERE


RUNTIMES = [
    # ONNX Runtime, CUDA driver, TensorRT, pycuda: what ONNX Runtime's line becomes
    ("ok", "not here", "not here", "not here", "ok"),
    ("not here", "not here", "not here", "not here", "fails"),
    ("not here", "ok", "ok", "not here", "fails"),
    ("not here", "ok", "ok", "ok", "not here"),
]


@pytest.mark.parametrize(("ort", "driver", "tensorrt", "pycuda", "verdict"), RUNTIMES)
def test_the_main_job_needs_one_runtime(ort, driver, tensorrt, pycuda, verdict):
    findings = [
        Finding("ONNX Runtime", Verdict(ort), ""),
        Finding("CUDA driver", Verdict(driver), ""),
        Finding("TensorRT", Verdict(tensorrt), ""),
        Finding("pycuda", Verdict(pycuda), ""),
    ]

    assert with_verdict_on_runtimes(findings)[0].verdict.value == verdict


def test_a_library_that_crashes_is_a_finding():
    with pytest.raises(ProbeFailed, match="signal 11"):
        ask("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_library_that_hangs_is_a_finding(monkeypatch):
    monkeypatch.setattr(findings, "_PATIENCE_S", 0.2)

    with pytest.raises(ProbeFailed, match=r"no answer in 0\.2 s"):
        ask("import time; time.sleep(60)")


def test_a_library_that_is_missing_is_named_without_a_traceback():
    with pytest.raises(ProbeFailed, match=r"^ModuleNotFoundError: No module named 'nowhere'$"):
        ask("import nowhere")


def test_an_outbox_that_this_user_may_not_write_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(probes.os, "access", lambda *_: False)  # root may write anywhere

    seen = probes.disk(tmp_path / "outbox.db", needed_mb=1)

    assert seen.verdict is Verdict.WARNING
    assert "this user may not write at" in seen.found


def test_a_probe_that_breaks_shows_its_error():
    finding = isolated("memory", lambda: probes.memory(Path("/nowhere")))

    assert finding.name == "memory"
    assert "FileNotFoundError" in finding.found


def test_a_broker_that_answers_is_ok():
    with socket.create_server(("127.0.0.1", 0)) as server:
        mqtt = MqttConfig(host="127.0.0.1", port=server.getsockname()[1])

        assert probes.broker(mqtt).verdict is Verdict.OK


def test_a_broker_that_does_not_is_a_warning_since_messages_wait():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]

    finding = probes.broker(MqttConfig(host="127.0.0.1", port=port))

    assert finding.verdict is Verdict.WARNING
    assert "Connection refused" in finding.found


def test_a_disk_with_less_room_than_the_outbox_may_take_is_a_warning(tmp_path):
    finding = probes.disk(tmp_path / "not/yet/outbox.db", needed_mb=1e12)

    assert finding.verdict is Verdict.WARNING
    assert str(tmp_path) in finding.found


def test_the_findings_come_as_json_and_as_an_exit_status(tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text(
        "bundle: /nowhere\n"
        'cameras: [{name: a, source: "rtsp://h/x", aisles: [{id: "1"}]}]\n'
        "mqtt: {host: 127.0.0.1, port: 1}\n"
    )

    status = main(["doctor", "--json", "--config", str(config)])

    findings = {finding["name"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert status == 3
    assert findings["bundle"]["verdict"] == "fails"
    assert "edge-build-engine" in findings["bundle"]["remedy"]


def test_the_table_fits_80_columns(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")

    main(["doctor"])

    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80
