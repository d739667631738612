"""The letterbox kernel's arithmetic, compiled as C, against the daemon's own letterbox."""

import ctypes

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detector.bundle import InputSpec
from edge.detector.cuda import FRAME, MAX_FRAMES, described
from edge.detector.letterbox import letterbox, place
from tests.fakes.gpu import ROOT, kernel

pytestmark = pytest.mark.needs("cv2")

POLICIES = ("centered", "top-left", "stretch")


@st.composite
def letterboxes(draw):
    """Draw a frame of any size and content, and an input to bring it to."""
    width, height = draw(st.integers(1, 1500)), draw(st.integers(1, 1500))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    spec = InputSpec(
        width=draw(st.integers(8, 320)),
        height=draw(st.integers(8, 320)),
        letterbox=draw(st.sampled_from(POLICIES)),
        pad=draw(st.integers(0, 255)),
    )
    return rng.integers(0, 256, (height, width, 3), np.uint8), spec


def on_the_kernel(images, spec):
    """Return the network's input, uint8 (B, H, W, 3), as a launch of the kernel writes it."""
    out = np.full((len(images), spec.height, spec.width, 3), 0xCD, np.uint8)
    frames = described(
        [(image.ctypes.data, place(image.shape[1::-1], spec)) for image in images]
    ).tobytes()
    pointer = ctypes.c_void_p(out.ctypes.data)
    kernel()(frames, pointer, spec.width, spec.height, spec.pad, len(images))
    return out


@settings(max_examples=60, deadline=None)
@given(letterboxes())
def test_it_is_the_cpu_letterbox_to_one_grey_level(drawn):
    image, spec = drawn

    found = on_the_kernel([image], spec)[0]

    assert np.abs(found.astype(int) - letterbox(image, spec)[0]).max() <= 1


@pytest.mark.parametrize("size_wh", [(160, 160), (160, 90), (40, 160)])
def test_a_frame_that_needs_no_resize_is_copied_bit_by_bit(size_wh):
    spec = InputSpec(width=160, height=160, letterbox="centered", pad=7)
    image = np.random.default_rng(1).integers(0, 256, (*size_wh[::-1], 3), np.uint8)

    np.testing.assert_array_equal(on_the_kernel([image], spec)[0], letterbox(image, spec)[0])


def test_frames_of_a_batch_may_differ_in_size():
    spec = InputSpec(width=96, height=64, letterbox="centered", pad=114)
    rng = np.random.default_rng(2)
    images = [rng.integers(0, 256, (h, w, 3), np.uint8) for w, h in ((50, 70), (200, 20), (96, 64))]

    found = on_the_kernel(images, spec)

    for image, one in zip(images, found, strict=True):
        assert np.abs(one.astype(int) - letterbox(image, spec)[0]).max() <= 1


def test_the_largest_frame_does_not_overflow():
    spec = InputSpec(width=8192, height=8, letterbox="stretch", pad=0)
    image = np.full((8, 16384, 3), 255, np.uint8)

    assert on_the_kernel([image], spec).min() == 255


def test_source_and_caller_agree_on_what_a_launch_takes():
    source = (ROOT / "edge/detector/letterbox.cu").read_text()

    assert f"#define MAX_FRAMES {MAX_FRAMES} " in source
    assert FRAME.itemsize == 32
    assert list(FRAME.names) == ["pixels", "frame_wh", "offset_xy", "size_wh"]
