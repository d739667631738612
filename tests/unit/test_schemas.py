"""The schemas that subscribers build against are those of the messages, and valid themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from edge.frame import Blindness
from edge.reporting.asyncapi import documents
from edge.reporting.commands import REQUESTS, request_schema
from edge.reporting.messages import WIRE, json_schema
from edge.reporting.replies import CommandReply
from edge.reporting.topics import Topics

SCHEMAS = Path(__file__).parents[2] / "deploy" / "schemas"


def test_deploy_schemas_holds_what_scripts_schemas_writes():
    held = {path.name: path.read_text(encoding="utf-8") for path in SCHEMAS.iterdir()}

    assert held == documents(), "run scripts/schemas"


@pytest.mark.parametrize("kind", WIRE)
def test_each_schema_is_valid_and_says_what_it_describes(kind):
    schema = json_schema(kind)

    Draft202012Validator.check_schema(schema)
    assert schema["description"]
    assert {"schema", "id", "boot", "time", "site", "device"} <= set(schema["required"])


@pytest.mark.parametrize("name", REQUESTS)
def test_each_request_schema_is_valid_and_refuses_unknown_keys(name):
    schema = request_schema(name)

    Draft202012Validator.check_schema(schema)
    assert schema["description"]
    assert Draft202012Validator(schema).is_valid({})
    assert not Draft202012Validator(schema).is_valid({"nonsense": 1})


def test_the_schema_of_answers_is_valid_and_says_what_it_describes():
    schema = json_schema("command-reply", CommandReply)

    Draft202012Validator.check_schema(schema)
    assert schema["description"]
    assert {"schema", "id", "command", "request", "ok", "error", "result"} <= set(
        schema["required"]
    )


def test_every_reason_that_a_camera_can_have_is_in_the_schema():
    reasons = json_schema("state")["properties"]["reason"]["anyOf"][0]["enum"]

    assert set(reasons) == {blindness.value for blindness in Blindness}


def test_the_channels_are_the_topics_that_messages_go_to():
    channels = json.loads(documents()["asyncapi.json"])["channels"]
    topics = Topics("{prefix}", "{site}", "{device}")

    assert {kind: channel["address"] for kind, channel in channels.items()} == {
        "status": topics.status,
        "state": topics.state("{aisle}"),
        "detections": topics.detections("{aisle}"),
        "camera": topics.camera("{camera}"),
        "gap": topics.gap,
        **{f"command-{name}": topics.command(name) for name in REQUESTS},
        "command-reply": None,
    }


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    files = documents()

    def check(node):
        if isinstance(node, dict):
            if "$ref" in node:
                file, _, pointer = node["$ref"].partition("#")
                target = json.loads(files[file.removeprefix("./") or "asyncapi.json"])
                for part in pointer.strip("/").split("/") if pointer else []:
                    target = target[part]
            for value in node.values():
                check(value)

    check(json.loads(files["asyncapi.json"]))
