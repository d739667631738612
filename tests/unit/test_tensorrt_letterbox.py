"""The letterbox kernel, compiled as C++, against the daemon's own letterbox."""

import ctypes
import mmap
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.detector.bundle import InputSpec
from edge.detector.cuda import BLOCK, FRAME, MAX_FRAMES, RUN, described, grid_of
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
    places = [place(image.shape[1::-1], spec) for image in images]
    launch([image.ctypes.data for image in images], places, spec, out.ctypes.data)
    return out


def launch(addresses, places, spec, out):
    three = ctypes.c_int * 3
    frames = described(list(zip(addresses, places, strict=True))).tobytes()
    grid, block = three(*grid_of(spec, len(places))), three(*BLOCK)
    kernel()(grid, block, frames, ctypes.c_void_p(out), spec.width, spec.height, spec.pad)


@settings(max_examples=60)
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


@pytest.mark.parametrize("size_wh", [(1920, 1080), (1280, 720), (640, 480), (3840, 2160)])
def test_what_cameras_give_is_the_cpu_letterbox(size_wh):
    spec = InputSpec(width=640, height=640, letterbox="centered", pad=114)
    image = np.random.default_rng(4).integers(0, 256, (*size_wh[::-1], 3), np.uint8)

    difference = np.abs(on_the_kernel([image], spec)[0].astype(int) - letterbox(image, spec)[0])

    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_it_touches_nothing_but_frame_and_input():
    """Both end where memory does, and begin there: one byte more, and the process would die."""
    done = subprocess.run(
        [sys.executable, "-c", "from tests.unit.test_tensorrt_letterbox import *; at_the_edges()"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "nothing touched\n"), done.stderr


def at_the_edges():
    for width, height, size, policy in (
        (64, 64, (192, 108), "centered"),  # 3 to 1
        (61, 33, (100, 77), "centered"),  # rows that are no whole words
        (64, 64, (21, 43), "stretch"),  # upscaled
        (8, 8, (1, 1), "top-left"),
        (10, 8, (1500, 3), "stretch"),
    ):
        spec = InputSpec(width=width, height=height, letterbox=policy, pad=1)
        for at_end in (True, False):
            frame, out = (guarded(w * h * 3, at_end) for w, h in (size, (width, height)))
            launch([frame], [place(size, spec)], spec, out)
    print("nothing touched")


def guarded(nbytes, at_end):
    """Return the address of memory that ends, or begins, beside a page that nobody may touch."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    room = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    start = libc.mmap(None, room + 2 * mmap.PAGESIZE, 0, private, -1, 0) + mmap.PAGESIZE
    assert libc.mprotect(start, room, mmap.PROT_READ | mmap.PROT_WRITE) == 0
    return start + room - nbytes if at_end else start


def test_source_and_caller_agree_on_what_a_launch_takes():
    source = (ROOT / "edge/detector/letterbox.cu").read_text()

    assert f"#define MAX_FRAMES {MAX_FRAMES} " in source
    assert f"#define RUN {RUN} " in source
    assert FRAME.itemsize == 32
    assert list(FRAME.names) == ["pixels", "frame_wh", "offset_xy", "size_wh"]
