"""`trtexec`'s figure in `edge bench`: taken where it is, left out with a reason where it is not."""

from __future__ import annotations

import logging

import pytest

from edge.detector.bundle import load_bundle
from edge.tools import trtexec
from tests.quadrants import write_bundle

pytestmark = pytest.mark.needs("onnx", "onnxruntime", "cv2")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return load_bundle(write_bundle(tmp_path_factory.mktemp("models") / "quadrants"))


@pytest.fixture
def says(tmp_path, monkeypatch):
    """Put a program in trtexec's place that says and returns what it is told to."""

    def install(text, status=0):
        program = tmp_path / "trtexec"
        program.write_text(
            f"#!/bin/sh\necho \"$@\" > {tmp_path}/given\necho '{text}'\nexit {status}\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
        return tmp_path / "given"

    return install


def test_its_throughput_is_taken(bundle, says):
    given = says("[11/21/2026-05:00:00] [I] Throughput: 507.399 qps")

    assert trtexec.queries_per_second(bundle) == 507.399
    assert "--shapes=frames:1x" in given.read_text()


@pytest.mark.parametrize(("text", "status"), [("[E] no plan", 1), ("nothing", 0)])
def test_a_failure_is_said_and_leaves_the_figure_out(bundle, says, caplog, text, status):
    says(text, status)

    assert trtexec.queries_per_second(bundle) is None
    assert f"trtexec: status {status}" in caplog.text


def test_without_one_the_figure_is_left_out(bundle, tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(trtexec, "JETPACK", str(tmp_path))

    with caplog.at_level(logging.INFO):
        assert trtexec.queries_per_second(bundle) is None
    assert "no trtexec" in caplog.text
