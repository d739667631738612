"""Images are chosen: read, told apart, spread evenly, and some held out."""

from __future__ import annotations

import os

import cv2
import numpy as np
import pytest

from edge.detector.bundle import InputSpec
from engines import images
from engines.errors import ImagesError

SPEC = InputSpec(width=64, height=64, letterbox="centered")


def picture(seed, size=(96, 64)):
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (8, 8, 3), np.uint8), size)


def photos(folder, count, first=0):
    folder.mkdir(exist_ok=True)
    for seed in range(first, first + count):
        cv2.imwrite(str(folder / f"{seed:04}.png"), picture(seed))
    return folder


def video(path, pictures):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (96, 64))
    for image in pictures:
        writer.write(image)
    writer.release()
    return path


def select(*paths):
    return images.select(paths, SPEC, lambda *_: None)


def test_one_of_three_is_held_out_and_none_is_in_both(tmp_path):
    chosen = select(photos(tmp_path / "a", 12))

    assert (len(chosen.calibration), len(chosen.held_out)) == (8, 4)
    assert not {f.tobytes() for f in chosen.calibration} & {f.tobytes() for f in chosen.held_out}


def test_frames_are_letterboxed_as_the_daemon_does(tmp_path):
    frame = select(photos(tmp_path / "a", 9)).calibration[0]

    assert frame.shape == (64, 64, 3)
    assert (frame[:10] == 114).all()
    assert not (frame[11:53] == 114).all()


def test_the_same_files_give_the_same_frames(tmp_path):
    folder = photos(tmp_path / "a", 20)

    first, second = select(folder), select(folder)

    np.testing.assert_array_equal(first.calibration, second.calibration)
    np.testing.assert_array_equal(first.held_out, second.held_out)


def test_near_duplicates_are_left_out_and_counted(tmp_path):
    folder = photos(tmp_path / "a", 9)
    for seed in range(5):
        noise = np.random.default_rng(seed).integers(0, 4, (64, 96, 3), np.uint8)
        cv2.imwrite(str(folder / f"copy{seed}.png"), cv2.add(picture(0), noise))

    chosen = select(folder)

    assert chosen.summary() == {
        "looked_at": 14,
        "near_duplicates": 5,
        "unreadable": 0,
        "calibrated_on": 6,
        "held_out": 3,
    }


def test_a_small_thing_that_moves_makes_another_frame(tmp_path):
    folder = tmp_path / "a"
    folder.mkdir()
    for step in range(9):
        still = picture(0)
        cv2.rectangle(still, (step * 10, 20), (step * 10 + 6, 40), (0, 0, 255), -1)
        cv2.imwrite(str(folder / f"{step}.png"), still)

    assert select(folder).duplicates == 0


def without_a_length(path):
    """Make an element that is to be passed over of the one that says how long it is, 11 bytes."""
    before, said, rest = path.read_bytes().partition(b"\x44\x89\x88")
    path.write_bytes(before + b"\xec\x89" + said[2:] + rest)
    return path


@pytest.mark.parametrize(
    ("name", "cut"),
    [("v.avi", lambda path: path), ("v.mkv", without_a_length)],
    ids=["", "cut off"],
)
def test_a_long_video_is_looked_at_from_end_to_end(tmp_path, name, cut):
    # Brightness is the frame's number.
    shades = [np.full((64, 96, 3), 20, np.uint8) for _ in range(600)]
    for number, shade in enumerate(shades):
        cv2.rectangle(shade, (10, 10), (80, 50), (number * 255 // 600,) * 3, -1)

    chosen = select(cut(video(tmp_path / name, shades)))

    middles = sorted(int(f[32, 32, 0]) for f in chosen.calibration + chosen.held_out)
    assert chosen.looked_at == 288
    assert middles[0] < 10
    assert middles[-1] > 240  # the last frame that differs enough from the one before


def test_folders_and_videos_mix(tmp_path):
    folder = photos(tmp_path / "a", 10)
    clip = video(tmp_path / "v.avi", [picture(seed) for seed in range(50, 60)])

    assert select(folder, clip).looked_at == 20


def test_folders_are_searched_to_the_bottom(tmp_path):
    (tmp_path / "a").mkdir()
    photos(tmp_path / "a" / "deep", 9)

    assert select(tmp_path / "a").looked_at == 9


@pytest.mark.parametrize(
    "make",
    [
        lambda path: path.write_bytes(b"\xff\xd8 not a JPEG"),
        os.mkfifo,
        lambda path: path.symlink_to("nowhere"),
        lambda path: path.mkdir(),
    ],
    ids=["broken", "pipe", "dangling link", "folder"],
)
def test_what_is_no_image_is_named_left_out_and_counted(tmp_path, caplog, make):
    folder = photos(tmp_path / "a", 9)
    make(folder / "broken.jpg")

    chosen = select(folder)

    assert [name.rpartition("/")[2] for name in chosen.unreadable] == ["broken.jpg"]
    assert "broken.jpg: not an image" in caplog.text


def test_a_video_without_an_end_is_named_left_out_and_counted(tmp_path, caplog):
    folder = photos(tmp_path / "a", 9)
    broken_video(folder)

    chosen = select(folder)

    assert [name.rpartition("/")[2] for name in chosen.unreadable] == ["v.mp4"]
    assert "v.mp4: not a video that OpenCV can decode; left out" in caplog.text


def test_more_videos_than_frames_are_looked_at_are_spread_over(tmp_path, monkeypatch):
    monkeypatch.setattr(images, "_LOOKED_AT", 12)
    monkeypatch.setattr(images, "_video_frames", lambda path, count: [picture(int(path.stem))])
    for number in range(40):
        (tmp_path / f"{number:02}.mp4").touch()

    assert select(tmp_path).looked_at == 12


def empty(folder):
    (folder / "e").mkdir()
    return folder / "e"


def text_files(folder):
    (folder / "notes.txt").write_text("no photo")
    return folder / "notes.txt"


def broken_photos(folder):
    for number in range(9):
        (folder / f"{number}.jpg").write_bytes(b"no")
    return folder


def broken_video(folder):
    (folder / "v.mp4").write_bytes(b"no video")
    return folder / "v.mp4"


def copies(folder):
    for number in range(30):
        cv2.imwrite(str(folder / f"{number}.png"), picture(0))
    return folder


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda folder: folder / "none", "no such file or folder; give a folder"),
        (empty, "expected images or videos, found none; known are .avi"),
        (text_files, "expected images or videos, found none"),
        (broken_photos, "none of 9 files can be read as an image or a video, first"),
        (broken_video, "none of 1 files can be read as an image or a video"),
        (broken_video, "convert a video with: ffmpeg"),
        (lambda folder: photos(folder / "one", 1), "at least 8 different images, found 1"),
        (copies, "at least 8 different images, found 1 (30 read"),
        (lambda folder: photos(folder / "few", 7), "found 7"),
    ],
)
def test_what_cannot_be_calibrated_on_is_refused_in_one_line(tmp_path, make, says):
    with pytest.raises(ImagesError) as error:
        select(make(tmp_path))

    assert says in str(error.value)
    assert "\n" not in str(error.value)
