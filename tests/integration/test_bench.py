"""`edge bench` as a person runs it, on the built-in bundle."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUNDLE = ROOT / "engines/zoo/bundles/shelf-yolo"
pytestmark = pytest.mark.needs("cv2", "onnxruntime")


def bench(source, *options):
    command = [sys.executable, "-m", "edge", "bench", BUNDLE, "--source", source, *options]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Ten frames of a drawn shelf."""
    import cv2

    from edge.capture.readers import open_reader
    from edge.capture.source import parse_source

    path = tmp_path_factory.mktemp("bench") / "shelf.mp4"
    reader = open_reader(parse_source("synthetic://shelf?width=640&height=360"))
    written = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 25, (640, 360))
    for _ in range(10):
        reader.grab()
        written.write(reader.retrieve())
    written.release()
    return path


def test_it_gives_both_rates_and_their_ratio_of_the_same_run(video):
    done = bench(f"file://{video}?loop=1", "--rounds", "2", "--seconds", "0.3", "--json")
    report = json.loads(done.stdout)
    assert done.returncode == 0, done.stderr
    assert report["frames"] > 0
    assert report["ratio_lowest"] <= report["ratio"] <= report["ratio_highest"]
    assert report["ratio"] == pytest.approx(report["pipeline_fps"] / report["bare_fps"], rel=0.5)
    assert set(report["stages_ms"]) == {
        "wait for a frame", "inference and decoding", "aisles and messages", "outbox"
    }  # fmt: skip


def test_a_source_slower_than_the_detector_is_named_as_what_was_measured():
    source = "synthetic://shelf?width=640&height=360&fps=5"
    done = bench(source, "--rounds", "1", "--seconds", "0.5")
    assert done.returncode == 0
    assert "frames a second, fewer than are detected here" in done.stderr


def test_a_recording_that_ends_is_one_line_with_the_remedy(video):
    done = bench(f"file://{video}", "--seconds", "30")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == (
        "edge: no frame within 10 s: the recording is at its end; "
        "give a source that goes on, for example file:///video.mp4?loop=1\n"
    )
