"""What the demo writes is a configuration that the daemon reads."""

from __future__ import annotations

import pytest

from edge.config_file import load_config
from edge.tools.demo_config import what_is_shown, write_config


@pytest.mark.parametrize("cameras", [1, 2, 5])
def test_every_camera_given_sees_two_aisles_of_its_own(tmp_path, cameras):
    sources = ["file:///srv/a b's clip.mp4?loop=1"] * cameras

    config = load_config(write_config(sources, tmp_path / "bundle", ("127.0.0.1", 1883), tmp_path))

    assert [camera.source for camera in config.cameras] == sources
    aisles = [view.id for camera in config.cameras for view in camera.aisles]
    assert aisles == [f"{number:02}" for number in range(1, 2 * cameras + 1)]


def test_without_a_camera_three_are_drawn(tmp_path):
    config = load_config(write_config([], None, ("127.0.0.1", 1883), tmp_path))

    assert [view.id for camera in config.cameras for view in camera.aisles] == ["07", "08", "09"]


def test_one_camera_is_not_called_many():
    assert what_is_shown(["csi://0"]).startswith("1 camera,")
    assert what_is_shown(["csi://0", "csi://1"]).startswith("2 cameras,")
