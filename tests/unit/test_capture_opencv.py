"""What a missing or a poor OpenCV is told."""

import sys
from types import SimpleNamespace

import pytest

from edge.capture import opencv
from edge.capture.opencv import import_cv2, require_backend
from edge.errors import MissingPackage


def fake_cv2(version="4.8.0", backends=()):
    return SimpleNamespace(
        __version__=version,
        __file__="/somewhere/cv2/__init__.py",
        CAP_GSTREAMER=1800,
        CAP_FFMPEG=1900,
        setLogLevel=lambda level: None,
        videoio_registry=SimpleNamespace(hasBackend=lambda number: number in backends),
    )


@pytest.mark.parametrize(
    ("is_jetson", "says"),
    [(False, "pip install 'aisle-edge[cpu]'"), (True, "sudo apt install nvidia-opencv")],
)
def test_a_missing_opencv_is_told_with_what_to_install(monkeypatch, tmp_path, is_jetson, says):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(opencv, "_JETSON", tmp_path if is_jetson else tmp_path / "no")

    with pytest.raises(MissingPackage) as missing:
        import_cv2()
    assert says in missing.value.hint
    assert is_jetson or "apt" not in missing.value.hint


def test_an_opencv_without_gstreamer_is_named_with_where_it_comes_from(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", fake_cv2())

    with pytest.raises(MissingPackage) as missing:
        require_backend("GSTREAMER", "source csi://0")
    told = str(missing.value)
    assert "csi://0: needs an OpenCV with GSTREAMER, and OpenCV 4.8.0 from /somewhere" in told
    assert "apt install" in told
    assert "a wheel from pip has no GStreamer" in told


def test_an_opencv_that_has_the_backend_will_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", fake_cv2(backends=[1800]))

    assert require_backend("GSTREAMER", "source csi://0") == 1800
