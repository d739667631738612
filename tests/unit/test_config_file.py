"""A configuration that is wrong is refused with every problem at once, each with its line."""
# ruff: noqa: E501 - a row of a table stays one line

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.aisles.classifier import Passport
from edge.config_file import load_config, read_config_file
from edge.config_problems import shown
from edge.errors import ConfigError
from edge.yaml_tree import YamlProblem, parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = """\
bundle: /models/current
cameras:
  - name: a07
    source: rtsp://10.0.7.12/stream1
    aisles: [{id: "07"}]
mqtt: {host: broker.north}
"""


@pytest.fixture
def problems(tmp_path: Path):
    """Return the problems of a configuration's text, without the file's name."""

    def of(text: str | bytes) -> list[str]:
        path = tmp_path / "edge.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        with pytest.raises(ConfigError) as error:
            load_config(path)
        assert error.value.exit_code == 2
        assert all(line.startswith(f"{path}:") for line in error.value.problems)
        return [line.removeprefix(f"{path}:") for line in error.value.problems]

    return of


def test_a_minimal_file_is_enough(tmp_path):
    (tmp_path / "c.yaml").write_text(MINIMAL)

    config = load_config(tmp_path / "c.yaml")

    assert config.mqtt.host == "broker.north"
    assert config.cameras[0].aisles[0].id == "07"


# Each row: a line of the minimal file, what stands there instead, the one problem it makes.
ONE_MISTAKE = [
    ("bundle: /models/current", "bundle: 3", '1: bundle: expected text, found 3 (to YAML that is a number); put it in quotes: "3"'),
    ("bundle: /models/current\n", "", "1: bundle: missing; the directory that edge-build-engine --out wrote"),
    ("source: rtsp://10.0.7.12/stream1\n    ", "", "3: cameras[0].source: missing; a URI such as rtsp://10.0.7.12/stream1 or v4l2:///dev/video0"),
    ('id: "07"', "id: 07", '5: cameras[0].aisles[0].id: expected text, found 07 (to YAML that is a number); put it in quotes: "07"'),
    ('id: "07"', "id: no", '5: cameras[0].aisles[0].id: expected text, found no (to YAML that is true or false); put it in quotes: "no"'),
    ('id: "07"', 'id: "0\\x017"', r"5: cameras[0].aisles[0].id: expected a name that can be one level of an MQTT topic: no spaces, control characters, / + # or $, found '0\x017'"),
    ('id: "07"', "id: a/7", "5: cameras[0].aisles[0].id: expected a name that can be one level of an MQTT topic: no spaces, control characters, / + # or $, found 'a/7'"),
    ("name: a07", 'name: "a 07"', "3: cameras[0].name: expected a name that can be one level of an MQTT topic: no spaces, control characters, / + # or $, found 'a 07'"),
    ('{id: "07"}', "", "5: cameras[0].aisles: expected at least 1 entry, found a list"),
    ('{id: "07"}', '{id: "07", threshold: 40}', "5: cameras[0].aisles[0].threshold: expected at most 1, found 40"),
    ('{id: "07"}', '{id: "07", threshold: {box: -1}}', "5: cameras[0].aisles[0].threshold.box: expected at least 0, found -1"),
    ('{id: "07"}', '{id: "07", threshold: [0.4]}', "5: cameras[0].aisles[0].threshold: expected a score from 0 to 1, or one per label as `label: score` lines, found a list"),
    ('{id: "07"}', '{id: "07", anchor: top}', "5: cameras[0].aisles[0].anchor: expected bottom-center or center, found 'top'"),
    ('{id: "07"}', '{id: "07", zone: [[0, 0], [1, 1]]}', "5: cameras[0].aisles[0].zone: a zone needs at least 3 different corners, found 2"),
    ('{id: "07"}', '{id: "07", zone: [[0, 0], [0.5, 0.5], [1, 1]]}', "5: cameras[0].aisles[0].zone: the corners enclose no area; list the corners in order around the zone"),
    ('{id: "07"}', '{id: "07", zone: [[0, 0], [0.62, 0], [0, 1], [0.55, 1]]}', "5: cameras[0].aisles[0].zone: the sides [0.62, 0] to [0, 1] and [0.55, 1] to [0, 0] cross; list the corners in order around the zone"),
    ('{id: "07"}', '{id: "07", zone: [[0, 0], [1280, 0], [1280, 720]]}', "5: cameras[0].aisles[0].zone[1]: expected a corner [x, y], fractions of the frame from 0 to 1, found [1280, 0]"),
    ('{id: "07"}', '{id: "07", zone: [[0, 0], [1], [1, 1]]}', "5: cameras[0].aisles[0].zone[1]: expected a corner [x, y], fractions of the frame from 0 to 1, found [1]"),
    ("mqtt: {host: broker.north}", "mqtt: {host: broker.north, port: '1883'}", "6: mqtt.port: expected a whole number, found '1883'; write it without quotes"),
    ("mqtt: {host: broker.north}", "mqtt: {host: broker.north, port: 70000}", "6: mqtt.port: expected at most 65535, found 70000"),
    ("mqtt: {host: broker.north}", "mqtt: {host: broker.north, port: true}", "6: mqtt.port: expected a whole number, found true"),
    ("mqtt: {host: broker.north}", "mqtt: {host: broker.north, tls: maybe}", "6: mqtt.tls: expected true, false, or a section with ca_file, cert_file, key_file, found 'maybe'"),
    ("mqtt: {host: broker.north}", "mqtt: {host: broker.north, tls: {cert_file: /c}}", "6: mqtt.tls: a client certificate needs both cert_file and key_file"),
    ("mqtt: {host: broker.north}", "mqtt: {host: 'mqtt://broker'}", "6: mqtt.host: expected a host name or address alone: no mqtt://, no user, no brackets, no port (port has its own key)"),
    ("mqtt: {host: broker.north}", "mqtt: {host: 'broker:8883'}", "6: mqtt.host: expected a host name or address alone: no mqtt://, no user, no brackets, no port (port has its own key)"),
    ("mqtt: {host: broker.north}", "mqtt: {host: b, port: 018}", "6: mqtt.port: expected a whole number, found '018'; write it as 18"),
    ("mqtt: {host: broker.north}", "mqtt: {host: b, username: 4711}", "6: mqtt.username: expected text (to YAML that is a number); put it in quotes"),
    ("mqtt: {host: broker.north}", 'mqtt: {host: b, username: "a\\0"}', "6: mqtt.username: expected a user name without control characters"),
    ("mqtt: {host: broker.north}", f"mqtt: {{host: b, prefix: {'p' * 1025}}}", f"6: mqtt.prefix: expected at most 1024 characters, found '{'p' * 39}…'"),
    ("mqtt: {host: broker.north}", "mqtt:", "6: mqtt: expected a section with host, port, prefix, username, password_file, tls, commands, found nothing"),
    ("mqtt: {host: broker.north}", "mqtt: {host: b, prefix: a//b}", "6: mqtt.prefix: expected topic levels joined by /, without spaces, control characters, + # or $, found 'a//b'"),
    ("bundle: /models", "outbox: {max_mb: .inf}\nbundle: /models", "1: outbox.max_mb: expected a finite number, found .inf"),
    ("bundle: /models", "outbox: {max_mb: 1.0e+308}\nbundle: /models", "1: outbox.max_mb: expected at most 1000000, found 1.0e+308"),
    ("bundle: /models", "outbox: {max_mb: 1e3}\nbundle: /models", "1: outbox.max_mb: expected a number, found '1e3'; write it as 1000"),
    ("bundle: /models", 'outbox: {path: "/a\\0b"}\nbundle: /models', "1: outbox.path: a path cannot have a NUL in it"),
    ("bundle: /models", "bundel: 1\nbundle: /models", "1: bundel: unknown key; did you mean bundle? allowed: site, device, bundle, runtime, threads, cameras, mqtt, publish, outbox"),
    ("name: a07", "name: a07\n    hysteresis_s: 1", "4: cameras[0].hysteresis_s: unknown key; it belongs under publish; allowed here: name, source, fps, aisles, aisles_by"),
    ("mqtt: {host: broker.north}", "mqtt: {host: b, host: c}", "6: mqtt.host: written twice, first on line 6; keep one of them"),
    ("mqtt: {host: broker.north}", "mqtt: {host: b}\n? [a]\n: 1", "1: line 7: a key must be one word, not a list or section"),
    ("    aisles", "    fps: 5 fps\n    aisles", "5: cameras[0].fps: expected a number, found '5 fps'"),
    ("    aisles", "    aisles_by: markers\n    aisles", "5: cameras[0].aisles_by: expected a section with markers, classifier, hold_s, found 'markers'"),
    ("    aisles", "    aisles_by: {hold_s: 3}\n    aisles", "5: cameras[0].aisles_by: expected either markers, their family, or classifier, its directory"),
    ("    aisles", "    aisles_by: {classifier: /c, markers: aruco_4x4_50}\n    aisles", "5: cameras[0].aisles_by: expected either markers, their family, or classifier, its directory"),
    ("    aisles", "    aisles_by: {markers: aruco_4x4}\n    aisles", "5: cameras[0].aisles_by.markers: expected aruco_4x4_50, aruco_4x4_100, aruco_4x4_250, aruco_4x4_1000 or apriltag_36h11, found 'aruco_4x4'"),
    ("    aisles", "    aisles_by: {classifier: /c, hold_s: 0}\n    aisles", "5: cameras[0].aisles_by.hold_s: expected more than 0, found 0"),
    ("    aisles", "    aisles_by: {markers: aruco_4x4_50}\n    aisles", "6: cameras[0].aisles[0].markers: missing; the ids of the markers that hang in this aisle, such as markers: [17]"),
    ('{id: "07"}', '{id: "07", markers: [17]}', "5: cameras[0].aisles[0].markers: this camera does not look for markers; give it aisles_by: {markers: aruco_4x4_50}"),
    ('{id: "07"}', '{id: "07", markers: 17}', "5: cameras[0].aisles[0].markers: expected a list, found 17"),
    ('[{id: "07"}]', '[{id: "07", markers: [50]}]\n    aisles_by: {markers: aruco_4x4_50}', "5: cameras[0].aisles[0].markers: aruco_4x4_50 has markers 0 to 49, found 50"),
    ('[{id: "07"}]', '[{id: "07", markers: [1, 2]}, {id: "08", markers: [2]}]\n    aisles_by: {markers: apriltag_36h11}', "5: cameras[0].aisles[1].markers: marker 2 is already that of 07"),
]  # fmt: skip


@pytest.mark.parametrize(("there", "instead", "problem"), ONE_MISTAKE)
def test_one_mistake_is_one_line_that_says_what_is_allowed(problems, there, instead, problem):
    assert there in MINIMAL

    assert problems(MINIMAL.replace(there, instead)) == [problem]


NOT_A_CONFIGURATION = [
    ("", "1: empty; a configuration needs bundle, cameras and mqtt"),
    ("# nothing yet\n", "1: empty; a configuration needs bundle, cameras and mqtt"),
    ("- a\n- b\n", "1: expected a section with site, device, bundle, runtime, threads, cameras, mqtt, publish, outbox, found a list"),
    ("bundle: /a\ncameras: [\n", "3: not YAML: expected the node content, but found '<stream end>'"),
    ("bundle: a: b\n", "1: not YAML: a second ':' here; check the indentation, or put the text in quotes"),
    ("mqtt:\n\thost: b\n", "2: not YAML: a tab; indent with spaces"),
    ("a: 1\n---\nb: 2\n", "2: not YAML: but found another document"),
    ("a: &a [x, x]\nb: [*a, *a]\n", "1: aliases (*name) and anchors (&name) are not read; repeat it"),
    ("a: !!python/object/apply:os.getcwd []\n", "1: tags (!name) are not read; put text that begins with ! in quotes"),
    ("a: " + "[" * 5000, "1: nested more than 20 levels deep"),
    ('a: 1\nb: "\\ud800"\n', r"2: an escape from \ud800 to \udfff, which is no character"),
    ("a: 1\nb: \x07\n", "2: a control character, which YAML does not allow"),
    (b"a: 1\nb: \xff\n", "2: not UTF-8 text; save the file as UTF-8"),
    ("#" * 1_000_001, " larger than 1000000 bytes; this is no configuration"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "problem"), NOT_A_CONFIGURATION)
def test_what_is_no_configuration_is_refused_with_its_line(problems, text, problem):
    assert problems(text) == [problem]


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(
        ConfigError, match=r"nowhere\.yaml: cannot be read: No such file .*; give the"
    ):
        load_config(tmp_path / "nowhere.yaml")


def test_a_directory_is_no_configuration(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_config(tmp_path)


def test_all_problems_come_at_once_in_the_order_of_the_file(problems):
    found = problems("""\
runtime: cuda
cameras:
  - name: a
    source: clip.mp4
    fps: 0
    aisles: [{id: "1", zone: [[0, 0], [2, 0], [2, 2]]}]
  - name: a
    source: rtsp://host/x
    aisles: [{id: "2"}]
mqtt: {hosst: b}
""")

    assert [line.split(": ")[:2] for line in found] == [
        ["1", "bundle"],
        ["1", "runtime"],
        ["4", "cameras[0].source"],
        ["5", "cameras[0].fps"],
        ["6", "cameras[0].aisles[0].zone[1]"],
        ["7", "cameras[1].name"],
        ["10", "mqtt.hosst"],
        ["10", "mqtt.host"],
    ]


def test_a_host_name_that_cannot_be_the_device_is_refused(problems, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "my jetson")

    (found,) = problems(MINIMAL)

    assert found.startswith("1: device: expected a name that can be one level of an MQTT topic")
    assert found.endswith("found 'my jetson'")


def test_a_second_camera_of_the_same_name_is_named_on_its_own_line(problems):
    second = '  - {name: a07, source: "rtsp://host/2", aisles: [{id: "08"}]}\n'

    found = problems(MINIMAL.replace("mqtt:", second + "mqtt:"))

    assert found == ["6: cameras[1].name: a07 is already the name of cameras[0]"]


def test_a_source_is_understood_before_anything_starts(problems):
    (found,) = problems(MINIMAL.replace("rtsp://10.0.7.12/stream1", "/dev/video0"))

    assert found.startswith("4: cameras[0].source: ")
    assert "v4l2:///dev/video0" in found


@pytest.mark.parametrize(
    "line",
    [
        "mqtt: {host: b, password: hunter2}",
        "mqtt: {host: b, mqtt_passwd: hunter2}",
        "mqtt: {host: b, password:hunter2}",
        "mqtt: {host: b, user:hunter2}",
        "mqtt: {host: 'mqtt://me:hunter2@b'}",
        "mqtt: {host: b, username: [hunter2]}",
        "mqtt: {host: b, password_file: {hunter2: 1}}",
        "mqtt: {host: b}\ncameras: [{source: 'rtps://me:hunter2@b/x'}]",
        "mqtt: {host: b}\npassword:hunter2\nx: 1",
        "mqtt: {host: b, password: *hunter2}",
        "mqtt: {host: b, password: !hunter2 x}",
    ],
)
def test_a_secret_in_the_wrong_place_is_never_repeated(problems, line):
    assert "hunter2" not in "\n".join(problems(f"bundle: /b\n{line}\n"))


def test_a_password_is_sent_to_password_file(problems):
    (found,) = problems(MINIMAL.replace("{host: broker.north}", "{host: b, password: x}"))

    assert found == (
        "6: mqtt.password: unknown key; no secret belongs here: "
        "put it into a file and use password_file"
    )


def test_labels_the_bundle_does_not_have_are_named_with_the_nearest(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        MINIMAL.replace('{id: "07"}', '{id: "07", labels: [palet, box], threshold: {bxo: 0.3}}')
    )

    with pytest.raises(ConfigError) as error:
        read_config_file(path).refuse_unknown_labels(["pallet", "box"])

    assert error.value.problems == [
        f"{path}:5: cameras[0].aisles[0].labels[0]: the bundle has no label palet; did you mean pallet?",
        f"{path}:5: cameras[0].aisles[0].threshold.bxo: the bundle has no label bxo; did you mean box?",
    ]


def test_labels_the_bundle_has_are_accepted(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(MINIMAL.replace('{id: "07"}', '{id: "07", labels: [box]}'))

    read_config_file(path).refuse_unknown_labels(["pallet", "box"])


def test_a_date_is_the_text_it_was_written_as():
    assert parse_yaml("site: 2024-01-01").data == {"site": "2024-01-01"}


@given(st.text(max_size=200))
def test_any_text_is_data_or_a_problem_with_a_line(text):
    try:
        line = parse_yaml(text).line(())
    except YamlProblem as problem:
        line = problem.line

    assert line >= 1


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_one_line_each(tmp_path_factory, raw):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)

    with pytest.raises(ConfigError) as error:
        load_config(path)

    assert all(line.isprintable() for line in error.value.problems)


def test_a_key_path_reads_like_the_file():
    assert shown(("cameras", 0, "aisles", 1, "zone")) == "cameras[0].aisles[1].zone"


def test_aisles_the_classifier_does_not_know_are_named(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(
        MINIMAL.replace('{id: "07"}', '{id: "07"}, {id: "17"}').replace(
            "    aisles:", f"    aisles_by: {{classifier: {tmp_path}}}\n    aisles:"
        )
    )
    passport = Passport(aisles=("07", "08"), width=160, height=90, sha256="")
    (tmp_path / "classifier.json").write_text(passport.model_dump_json())

    with pytest.raises(ConfigError) as error:
        read_config_file(path).refuse_unknown_aisles()

    assert error.value.problems == [
        f"{path}:6: cameras[0].aisles[1].id: the classifier of aisles_by knows no aisle 17; it knows 07, 08"
    ]
