"""The same inputs give the same bytes; in a file of its own, so that it runs beside others."""

from __future__ import annotations

import pytest

from tests.integration import builder

pytestmark = [
    pytest.mark.needs("cv2", "onnxruntime", "onnx", "shared-data"),
    pytest.mark.timeout(600),
]


def test_the_same_inputs_give_the_same_bytes_search_included(tmp_path, shared_data):
    (tmp_path / "faces").mkdir()
    video = shared_data / "media" / "person_432p.mp4"
    given = (
        shared_data / "models" / "ssd_face_rfb_320.onnx", "--allow-drop",
        "--runtime", "onnxruntime", "--images", builder.photos(video, tmp_path / "faces", every=25),
    )  # fmt: skip

    one, other = (builder.build(*given, "--out", tmp_path / name) for name in ("one", "other"))

    assert (one.returncode, other.returncode) == (0, 0), one.stderr + other.stderr
    assert "trying the ranges of model.onnx" in one.stderr
    assert files(tmp_path / "one") == files(tmp_path / "other")


def files(bundle):
    """All but the report: that tells what was timed."""
    return {file.name: file.read_bytes() for file in bundle.iterdir() if file.suffix != ".html"}
