"""A folder of pictures as a camera."""

import numpy as np
import pytest

from edge.capture.images import ImagesReader
from edge.capture.source import parse_source

pytestmark = pytest.mark.needs("cv2")


def put(folder, name, level):
    import cv2

    cv2.imwrite(str(folder / name), np.full((8, 8, 3), level, np.uint8))


def round_of(reader, pictures):
    levels = []
    for _ in range(pictures):
        reader.grab()
        levels.append(int(reader.retrieve()[0, 0, 0]))
    return levels


def test_each_round_of_a_loop_has_what_the_folder_then_holds(tmp_path, caplog):
    put(tmp_path, "b.png", 20)
    put(tmp_path, "c.png", 30)
    reader = ImagesReader(parse_source(f"images://{tmp_path}?loop=1"))
    assert round_of(reader, 2) == [20, 30]

    put(tmp_path, "a.png", 10)
    (tmp_path / "c.png").unlink()

    assert round_of(reader, 3) == [10, 20, 10]
    assert caplog.text == ""
