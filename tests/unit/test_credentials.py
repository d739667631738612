"""The broker's password comes from a file that a person wrote, with whatever editor."""

from __future__ import annotations

import os

import pytest

from edge.config import MqttConfig
from edge.errors import StartError
from edge.reporting.credentials import user_and_password


@pytest.mark.parametrize(
    "written",
    [b"open sesame", b"open sesame\n", b"open sesame\r\n", b"\xef\xbb\xbfopen sesame\n\n"],
)
def test_an_editors_marks_are_no_part_of_it(tmp_path, written):
    (tmp_path / "secret").write_bytes(written)
    broker = MqttConfig(host="b", username="a07", password_file=tmp_path / "secret")

    assert user_and_password(broker) == ("a07", "open sesame")


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: path.write_text("a07\nsesame\n"), "expected the password alone, on one line"),
        (lambda path: path.write_bytes(b"s" * 65536), "expected the password alone, on one line"),
        (lambda path: path.write_bytes(b"caf\xe9"), "not UTF-8; write it as UTF-8"),
        (lambda path: path.mkdir(), "Is a directory"),
        (os.mkfifo, "is a pipe; give a file"),
    ],
)
def test_what_is_no_password_is_refused_without_showing_it(tmp_path, make, what):
    make(tmp_path / "secret")
    broker = MqttConfig(host="b", username="a07", password_file=tmp_path / "secret")

    with pytest.raises(StartError) as error:
        user_and_password(broker)
    assert what in str(error.value)
    assert "sesame" not in str(error.value)
