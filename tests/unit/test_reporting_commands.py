"""Which requests are understood, and in which words the others are refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.config import MqttConfig, TlsConfig
from edge.reporting.commands import (
    LARGEST,
    REQUESTS,
    CommandError,
    id_of,
    read_request,
    request_schema,
)
from edge.reporting.credentials import commands_allowed


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("payload", [b"", b"{}", b' {"id": "7"} '])
def test_every_key_may_be_left_out(name, payload):
    assert isinstance(read_request(name, payload), REQUESTS[name])


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_may_name_its_schema_and_no_other(name):
    read_request(name, json.dumps({"schema": f"aisle-edge/command-{name}/1"}).encode())

    with pytest.raises(CommandError, match=f"schema: expected 'aisle-edge/command-{name}/1'"):
        read_request(name, json.dumps({"schema": f"aisle-edge/command-{name}/2"}).encode())


@pytest.mark.parametrize(
    ("name", "payload", "error"),
    [
        ("format-disk", "{}", "unknown command 'format-disk'; known: snapshot, threshold, reload"),
        ("snapshot\nx", "{}", "unknown command 'snapshot\\\\nx'"),
        ("snapshot", "no", "no JSON: expected ident"),
        ("snapshot", "{", "no JSON: EOF"),
        ("snapshot", "[]", "expected a JSON object with any of id, schema, camera, boxes"),
        ("snapshot", "null", "expected a JSON object"),
        ("snapshot", '{"camra": "a"}', "unknown key 'camra'; did you mean camera\\? allowed: id"),
        ("snapshot", '{"a\\nb": 1}', "unknown key 'a\\\\nb'; allowed"),
        ("snapshot", '{"boxes": 1}', "boxes: expected a valid boolean"),
        ("snapshot", '{"camera": 7}', "camera: expected a valid string"),
        ("snapshot", '{"camera": ""}', "camera: String should have at least 1 character"),
        ("threshold", '{"threshold": 1.5}', "threshold: expected less than or equal to 1"),
        ("threshold", '{"threshold": -1}', "threshold: expected greater than or equal to 0"),
        ("threshold", '{"threshold": "0.5"}', "threshold: expected a valid number"),
        ("threshold", '{"threshold": NaN}', "threshold: expected"),
        ("threshold", '{"threshold": true}', "threshold: expected a valid number"),
        ("reload", '{"file": "/etc/passwd"}', "unknown key 'file'; allowed: id, schema"),
        ("self-test", '{"id": 7}', "id: expected a valid string"),
        ("self-test", f'{{"id": "{"x" * 129}"}}', "id: String should have at most 128 characters"),
        ("reload", " " * (LARGEST + 1), f"the request has {LARGEST + 1} bytes, at most {LARGEST}"),
        ("reload", "[" * LARGEST, "no JSON: recursion limit exceeded"),
    ],
)
def test_what_is_not_understood_is_refused_in_one_line(name, payload, error):
    with pytest.raises(CommandError, match=f"^{error}") as raised:
        read_request(name, payload.encode())

    assert str(raised.value).isprintable()


def test_many_mistakes_are_still_one_short_line():
    payload = json.dumps({f"key{number}": number for number in range(100)}).encode()

    with pytest.raises(CommandError, match=r"; and 96 more$") as raised:
        read_request("snapshot", payload)

    assert len(str(raised.value)) < 1024


@given(st.sampled_from([*REQUESTS, "x"]), st.binary(max_size=200))
def test_garbage_is_understood_or_refused_and_nothing_else(name, payload):
    id_of(payload)
    said = ""
    try:
        read_request(name, payload)
    except CommandError as error:
        said = str(error)

    assert said.isprintable()


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'{"id": "a", "nonsense": 1}', "a"),
        (b'{"id": 7}', None),
        (b'{"id": ""}', None),
        (b'["id"]', None),
        (b"", None),
        (b"\xff", None),
        (b'{"id": "a"}' + b" " * LARGEST, None),
    ],
)
def test_the_id_is_known_however_wrong_the_rest_is(payload, found):
    assert id_of(payload) == found


@pytest.mark.parametrize("name", REQUESTS)
def test_the_schemas_keys_are_the_models(name):
    assert "additionalProperties" in request_schema(name)


@pytest.mark.parametrize(
    ("mqtt", "allowed"),
    [
        ({}, False),
        ({"tls": True}, False),
        ({"username": "a07"}, True),
        ({"tls": TlsConfig(cert_file="c", key_file="k")}, True),
        ({"tls": TlsConfig(ca_file="c")}, False),
        ({"commands": True}, True),
        ({"commands": False, "username": "a07"}, False),
    ],
)
def test_commands_are_heard_where_the_broker_knows_us_unless_told_otherwise(
    mqtt, allowed, monkeypatch
):
    monkeypatch.delenv("AISLE_EDGE_MQTT_USERNAME", raising=False)

    assert commands_allowed(MqttConfig(host="broker", **mqtt)) is allowed


def test_a_user_name_from_the_environment_counts(monkeypatch):
    monkeypatch.setenv("AISLE_EDGE_MQTT_USERNAME", "a07")

    assert commands_allowed(MqttConfig(host="broker"))
