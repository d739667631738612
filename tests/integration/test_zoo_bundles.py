"""The built-in detectors as they are committed: whole, and they detect."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.capture.shelf_world.options import View, WorldOptions
from edge.capture.shelf_world.splits import Split
from edge.detector.bundle import PASSPORT, PORTABLE_GRAPH, REPORT, load_bundle
from edge.tools import verify

pytestmark = pytest.mark.needs("onnxruntime", "cv2")

BUNDLES = Path(__file__).parents[2] / "engines" / "zoo" / "bundles"
NAMES = ("shelf-yolo", "shelf-faster-rcnn")
WORLD = WorldOptions(View.SHELF, seed=5_000_000, resolution_wh=(640, 360), style=Split.HELD_OUT)
"""A building of the held-out ones."""


@pytest.fixture(scope="module")
def drawn():
    """Return a few moments of that building, as a dataset has them."""
    import numpy as np

    from edge.capture.shelf_world.splits import LABELS
    from edge.capture.shelf_world.world import ShelfWorld
    from engines.zoo.dataset import Frame

    world, found = ShelfWorld(WORLD), []
    for at in (5.0, 40.0, 90.0):
        image, things = world.frame(at)
        boxes = np.array([thing.xyxy for thing in things], np.float32).reshape(-1, 4)
        labels = np.array([LABELS.index(thing.label) for thing in things])
        found.append(Frame(image, boxes, labels, np.zeros(len(things), np.bool_)))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_detects_here_what_it_detected_where_it_was_built(name, capsys):
    import argparse

    parser = argparse.ArgumentParser()
    verify.add_arguments(parser)

    status = verify.run(
        parser.parse_args([str(BUNDLES / name), "--runtime", "onnxruntime", "--threads", "1"])
    )

    assert status == 0
    assert "ok: this bundle detects" in capsys.readouterr().out


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_most_of_what_stands_on_a_shelf(name, drawn):
    pytest.importorskip("pycocotools", reason="needs pycocotools: pip install 'aisle-edge[build]'")
    from edge.capture.shelf_world.splits import LABELS
    from edge.detector.onnxruntime import OnnxRuntime
    from engines.zoo import scoring
    from engines.zoo.dataset import fitted

    bundle = load_bundle(BUNDLES / name)
    spec = bundle.passport.input
    centred = spec.letterbox == "centered"
    samples = [fitted(one, spec.resolution_wh, centred=centred) for one in drawn]
    shape = (spec.height, spec.width, 3)
    with OnnxRuntime(bundle.file(PORTABLE_GRAPH), shape, 1) as runtime:
        raws = [runtime.infer(sample.image[None]) for sample in samples]

    found = scoring.judge(samples, raws, LABELS)

    assert bundle.passport.labels == LABELS
    assert found.things > 30
    assert found.found.sum() / found.there.sum() > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_its_passport_names_the_files_that_are_there_and_no_others(name):
    bundle = load_bundle(BUNDLES / name)

    there = {file.name for file in (BUNDLES / name).iterdir()} - {PASSPORT, REPORT}
    assert there == set(bundle.passport.files)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_small_enough_to_be_committed(name):
    assert sum(file.stat().st_size for file in (BUNDLES / name).iterdir()) <= 8_000_000
