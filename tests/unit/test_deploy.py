"""What we ship for a device agrees with the program it starts."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from edge.capture.source import FORMS, parse_source
from edge.config import (
    AislesBy,
    AisleView,
    CameraConfig,
    Config,
    MqttConfig,
    OutboxConfig,
    PublishConfig,
    TlsConfig,
)
from edge.config_file import load_config
from edge.errors import ConfigError
from tests.conftest import require_or_skip

DEPLOY = Path(__file__).parents[2] / "deploy"
EXAMPLE = DEPLOY / "aisle-edge.yaml"
UNIT = DEPLOY / "aisle-edge.service"
SECTIONS = (
    Config, CameraConfig, AisleView, AislesBy, MqttConfig, TlsConfig, PublishConfig, OutboxConfig,
)  # fmt: skip


def test_the_example_is_what_the_code_does_without_it():
    example = load_config(EXAMPLE)
    camera = example.cameras[0]

    only_what_has_no_default = Config.model_validate(
        {
            "device": example.device,
            "bundle": example.bundle,
            "cameras": [
                {
                    "name": camera.name,
                    "source": camera.source,
                    "aisles": [{"id": camera.aisles[0].id}],
                }
            ],
            "mqtt": {"host": example.mqtt.host},
        }
    )
    assert example == only_what_has_no_default


@pytest.mark.parametrize(
    "key", [f"{section.__name__}.{key}" for section in SECTIONS for key in section.model_fields]
)
def test_the_example_shows_every_key(key):
    word = key.partition(".")[2]

    assert re.search(rf"^\s*#?\s*(- )?{word}:", EXAMPLE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("form", FORMS)
def test_the_example_shows_every_kind_of_source(form):
    scheme = form.partition("://")[0]
    shown = re.search(rf"#\s+({scheme}://.*?)(  |$)", EXAMPLE.read_text(), re.MULTILINE)

    assert shown
    assert parse_source(shown[1]).kind.value == scheme


def unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read(UNIT)
    return parser


def test_a_wrong_configuration_is_not_tried_again():
    assert int(unit()["Service"]["RestartPreventExitStatus"]) == ConfigError([]).exit_code


def test_the_state_directory_is_where_the_outbox_is_by_default():
    state = Path("/var/lib") / unit()["Service"]["StateDirectory"]

    assert OutboxConfig().path.parent == state


def test_the_unit_gives_the_password_file_that_the_example_names():
    name = unit()["Service"]["LoadCredential"].partition(":")[0]

    assert f"password_file: /run/credentials/{UNIT.name}/{name}\n" in EXAMPLE.read_text()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    require_or_skip("systemd-analyze")
    text = UNIT.read_text()
    program = re.search(r"^ExecStart=(\S+)", text, re.MULTILINE)[1]
    copy = tmp_path / UNIT.name
    copy.write_text(text.replace(program, shutil.which("true")))  # it is installed on a device only

    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", copy],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    ours = [line for line in result.stderr.splitlines() if "aisle-edge" in line]
    assert (ours, result.returncode) == ([], 0)
