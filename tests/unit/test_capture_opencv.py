"""What a missing or a poor OpenCV is told."""

import sys
from types import SimpleNamespace

import pytest

from edge.board import Board
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
    ("l4t", "says"),
    [(None, "pip install 'aisle-edge[cpu]'"), ("36.4", "apt install nvidia-opencv")],
)
def test_a_missing_opencv_is_told_with_what_to_install(monkeypatch, l4t, says):
    monkeypatch.setitem(sys.modules, "cv2", None)
    monkeypatch.setattr(opencv, "this_board", lambda: Board("board", l4t))

    with pytest.raises(MissingPackage) as missing:
        import_cv2()
    assert says in missing.value.hint
    assert l4t or "apt" not in missing.value.hint


@pytest.mark.parametrize("l4t", [None, "36.4"])
def test_an_opencv_of_numpy_1_beside_numpy_2_needs_the_older_one(monkeypatch, l4t):
    def refuse(name):
        raise ImportError("numpy.core.multiarray failed to import")

    monkeypatch.setattr(opencv.importlib, "import_module", refuse)
    monkeypatch.setattr(opencv, "this_board", lambda: Board("board", l4t))

    with pytest.raises(MissingPackage, match=r"multiarray.*; .* -m pip install 'numpy<2'"):
        import_cv2()


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
