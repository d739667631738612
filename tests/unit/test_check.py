"""`edge check` says whether a file is right, and what it names that is not here."""

from __future__ import annotations

import pytest

from edge.cli import main
from tests.quadrants import write_bundle

CONFIG = """\
bundle: {bundle}
cameras:
  - {{name: a07, source: "rtsp://h/1", aisles: [{{id: "07"}}, {{id: "08", labels: [{label}]}}]}}
  - {{name: a08, source: "rtsp://h/2", aisles: [{{id: "08"}}]}}
mqtt: {{host: broker.north, port: 8883}}
outbox: {{path: {folder}/outbox.db}}
"""


@pytest.fixture
def config(tmp_path):
    def write(label: str = "box", extra: str = "", bundle: str | None = None):
        bundle = bundle or write_bundle(tmp_path / "bundle")
        path = tmp_path / "aisle-edge.yaml"
        path.write_text(CONFIG.format(bundle=bundle, label=label, folder=tmp_path) + extra)
        return path

    return write


def test_a_right_file_is_ok_and_summed_up(config, capsys):
    path = config()

    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().out == (
        f"{path}: ok (2 cameras, 2 aisles, broker broker.north:8883 with TLS)\n"
    )


def test_a_label_the_bundle_does_not_have_is_a_problem_with_its_line(config, capsys):
    path = config(label="boxx")

    assert main(["check", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"{path}:3: cameras[0].aisles[1].labels[0]: "
        "the bundle has no label boxx; did you mean box?\n"
    )


def test_a_bundle_that_is_not_here_is_a_warning_since_the_file_may_be_for_elsewhere(config, capsys):
    assert main(["check", str(config(bundle="/nowhere"))]) == 0
    assert "warning: bundle: the daemon would not start here: " in capsys.readouterr().out


def test_a_secret_that_cannot_be_read_is_a_warning_that_does_not_show_it(tmp_path, capsys, config):
    path = config()
    path.write_text(path.read_text().replace("8883", "8883, password_file: hunter2"))

    assert main(["check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "warning: mqtt.password_file: cannot be read here: No such file or directory" in out
    assert "hunter2" not in out


@pytest.mark.parametrize(
    ("there", "instead", "said"),
    [
        (
            "rtsp://h/1",
            "file:///nowhere.mp4",
            "cameras[0].source: the daemon would not start here: ",
        ),
        ("rtsp://h/2", "images:///nowhere", "cameras[1].source: the daemon would not start here: "),
        ("/outbox.db", "/nowhere/outbox.db", "outbox.path: "),
    ],
)
def test_what_the_daemon_could_not_start_with_is_a_warning(config, capsys, there, instead, said):
    path = config()
    path.write_text(path.read_text().replace(there, instead))

    assert main(["check", str(path)]) == 0
    (warning,) = capsys.readouterr().out.splitlines()[1:]
    assert warning.startswith(f"warning: {said}")
    assert "nowhere" in warning


def test_every_problem_goes_to_stderr_a_line_each(config, capsys):
    assert main(["check", str(config(extra="sitee: x\nrumtime: y\n"))]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 2
