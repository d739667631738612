"""The `edge` command: whatever the system does to it, one line and an exit status."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge.cli import main

CONFIG = 'bundle: b\ncameras: [{name: c, source: "csi://0", aisles: [{id: a}]}]\nmqtt: {host: h}\n'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "grün.yaml"
    path.write_text(CONFIG)
    return path


def check(config, stdout=subprocess.PIPE, **environment):
    return subprocess.run(
        [sys.executable, "-m", "edge", "check", config],
        stdout=stdout,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_path_that_the_system_keeps_from_us_is_one_line(capsys, monkeypatch):
    def denied(_):
        raise PermissionError(errno.EACCES, "Permission denied", "/etc/a07.yaml")

    monkeypatch.setattr("edge.tools.check.read_config_file", denied)

    assert main(["check", "/etc/a07.yaml"]) == 3
    assert capsys.readouterr().err == (
        "edge: /etc/a07.yaml: Permission denied; check the path, and what this user may do there\n"
    )


def test_a_mistake_of_our_own_keeps_its_trace(monkeypatch):
    def mistaken(_):
        raise ConnectionError(errno.ENOTCONN, "not connected")

    monkeypatch.setattr("edge.tools.check.read_config_file", mistaken)

    with pytest.raises(ConnectionError):
        main(["check", "c.yaml"])


def test_an_output_that_is_full_is_one_line(config):
    with Path("/dev/full").open("wb") as full:
        done = check(config, stdout=full)

    assert done.returncode == 3
    assert done.stderr == "edge: the output cannot be written: its disk is full; free space on it\n"


def test_an_output_that_nobody_reads_is_the_end_without_a_word(config):
    reading, writing = os.pipe()
    os.close(reading)
    done = check(config, stdout=writing)
    os.close(writing)

    assert (done.returncode, done.stderr) == (141, "")


def test_what_the_locale_has_no_letter_for_is_written_as_an_escape(config):
    done = check(config, PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert r"gr\xfcn.yaml: ok" in done.stdout
