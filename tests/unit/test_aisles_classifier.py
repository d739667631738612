"""The aisle classifier: its passport is held against its network, its shares become likelihoods."""

import hashlib

import numpy as np
import pytest

from edge.aisles.classifier import NETWORK, PASSPORT, AisleClassifier, Passport, read_passport
from edge.errors import BundleError, MissingPackage

onnx = pytest.importorskip("onnx")
pytestmark = pytest.mark.needs("cv2", "onnx")

BLUE, GREEN, RED = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def by_colour(gain=0.02):
    """Return a network whose shares are a softmax over the picture's mean blue, green and red."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("GlobalAveragePool", ["frame"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "weight"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 3, 24, 32])],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.eye(3, dtype=np.float32) * gain, "weight")],
    )
    opset = [helper.make_opsetid("", 13)]
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.fixture
def directory(tmp_path):
    """Write a classifier: blue is aisle 07, green 08, red is elsewhere."""
    raw = by_colour()
    (tmp_path / NETWORK).write_bytes(raw)
    passport = Passport(
        aisles=("07", "08"), width=32, height=24, sha256=hashlib.sha256(raw).hexdigest()
    )
    (tmp_path / PASSPORT).write_text(passport.model_dump_json())
    return tmp_path


def picture(colour, wh=(640, 360)):
    return np.full((wh[1], wh[0], 3), colour, np.uint8)


@pytest.mark.parametrize(("colour", "state"), [(BLUE, 0), (GREEN, 1), (RED, 2)])
def test_the_likeliest_state_is_the_network_s(directory, colour, state):
    seen = AisleClassifier(directory, ["07", "08"]).likelihood(picture(colour))

    assert seen.shape == (3,)
    assert seen[state] == 1
    assert np.delete(seen, state) == pytest.approx(np.exp(-0.02 * 255), rel=1e-3)


def test_aisles_come_in_the_order_of_the_camera_s(directory):
    seen = AisleClassifier(directory, ["08", "07"]).likelihood(picture(BLUE))

    assert seen.argmax() == 1


def test_an_aisle_the_camera_does_not_have_is_none_of_its_aisles(directory):
    seen = AisleClassifier(directory, ["07"]).likelihood(picture(GREEN))

    assert (seen.shape, seen.argmax()) == ((2,), 1)


@pytest.mark.parametrize("wh", [(32, 24), (1920, 1080), (1081, 1919), (33, 5)])
def test_frames_of_any_size_are_shrunk_to_the_network_s(directory, wh):
    assert AisleClassifier(directory, ["07", "08"]).likelihood(picture(GREEN, wh)).argmax() == 1


def test_a_network_that_is_not_the_passport_s_is_refused(directory):
    (directory / NETWORK).write_bytes(by_colour(gain=1.0))

    with pytest.raises(BundleError, match=r"classifier\.onnx: sha256 .* is not the passport's"):
        AisleClassifier(directory, ["07"])


@pytest.mark.parametrize("name", [NETWORK, PASSPORT])
def test_a_missing_file_is_named_with_the_next_step(directory, name):
    (directory / name).unlink()

    with pytest.raises(BundleError, match=f"{name}: No such file.*train it again"):
        AisleClassifier(directory, ["07"])


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", r"classifier\.json: aisles: Field required"),
        ("", r"classifier\.json: the file: Invalid JSON"),
        ('{"aisles": [], "width": 32, "height": 24, "sha256": ""}', "aisles: Tuple should have"),
        ('{"format": "aisle-edge/aisle-classifier/2"}', "format: Input should be"),
    ],
)
def test_a_passport_that_is_none_is_refused_in_one_line(directory, text, problem):
    (directory / PASSPORT).write_text(text)

    with pytest.raises(BundleError, match=problem) as error:
        read_passport(directory)
    assert "\n" not in str(error.value)


def test_a_network_that_opencv_cannot_read_is_refused(directory):
    raw = b"not a network"
    (directory / NETWORK).write_bytes(raw)
    passport = read_passport(directory)
    sealed = passport.model_copy(update={"sha256": hashlib.sha256(raw).hexdigest()})
    (directory / PASSPORT).write_text(sealed.model_dump_json())

    with pytest.raises(BundleError, match=r"classifier\.onnx: OpenCV .* cannot read it"):
        AisleClassifier(directory, ["07"])


def test_an_opencv_without_its_dnn_module_is_named_with_the_other_way(directory, monkeypatch):
    import cv2

    monkeypatch.delattr(cv2, "dnn")

    with pytest.raises(MissingPackage, match=r"needs OpenCV's dnn module.*markers"):
        AisleClassifier(directory, ["07"])
