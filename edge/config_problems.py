"""What is wrong with a configuration, in the words of the person who wrote it.

Pydantic says where and of what kind; here it becomes one line that names what is allowed.
"""

from __future__ import annotations

import difflib
import json
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError

from edge.config import Config, ProblemAt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pydantic_core import ErrorDetails

    from edge.yaml_tree import KeyPath, YamlTree

_UNIONS = {
    "threshold": "a score from 0 to 1, or one per label as `label: score` lines",
    "tls": "true, false, or a section with ca_file, cert_file, key_file",
}
"""Keys that take a single value or a section."""

_PRIVATE = frozenset({"source", "host", "username", "password_file"})
"""Keys whose value may hold a secret that strayed there: it is never shown."""

_SECRET_WORDS = ("password", "passwd", "secret", "token")
_LONGEST_SHOWN = 40

_PATTERNS = {
    "host": "a host name or address alone: no mqtt://, no user, no brackets, "
    "no port (port has its own key)",
    "prefix": "topic levels joined by /, without spaces, control characters, + # or $",
    "username": "a user name without control characters",
}
_TOPIC_LEVEL = (
    "a name that can be one level of an MQTT topic: no spaces, control characters, / + # or $"
)

_WORDS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "string_type": lambda _: "expected text",
    "path_type": lambda _: "expected a path",
    "float_type": lambda _: "expected a number",
    "finite_number": lambda _: "expected a finite number",
    "int_type": lambda _: "expected a whole number",
    "int_from_float": lambda _: "expected a whole number",
    "bool_type": lambda _: "expected true or false",
    "tuple_type": lambda _: "expected a list",
    "greater_than": lambda limit: f"expected more than {limit['gt']:g}",
    "greater_than_equal": lambda limit: f"expected at least {limit['ge']:g}",
    "less_than": lambda limit: f"expected less than {limit['lt']:g}",
    "less_than_equal": lambda limit: f"expected at most {limit['le']:.12g}",
    "string_too_short": lambda limit: f"expected at least {limit['min_length']} character",
    "string_too_long": lambda limit: f"expected at most {limit['max_length']} characters",
    "too_short": lambda limit: f"expected at least {limit['min_length']} entry",
    "literal_error": lambda limit: f"expected {limit['expected'].replace(chr(39), '')}",
}
"""Pydantic's kind of error: what was expected, given its limits."""

_MISSING = {
    "bundle": "the directory that edge-build-engine --out wrote",
    "cameras": "a list, each entry with name, source and aisles",
    "mqtt": "a section with at least host",
    "host": "the broker's name or address",
    "name": "a name for this camera, part of its topics",
    "source": "a URI such as rtsp://10.0.7.12/stream1 or v4l2:///dev/video0",
    "aisles": 'a list of the aisles this camera sees, such as - {id: "07"}',
    "id": 'the aisle, in quotes: id: "07"',
}


def problems_of(error: ValidationError, tree: YamlTree) -> Iterator[tuple[KeyPath, str]]:
    """Say what is wrong where in `tree`, one line each: key path, problem."""
    zones = set()
    for detail in error.errors(include_url=False):
        path = _path_in_file(detail["loc"])
        error_inside = detail.get("ctx", {}).get("error")
        if isinstance(error_inside, ProblemAt):
            path += error_inside.where
        if detail["type"] == "too_short" and len(detail["input"]) >= detail["ctx"]["min_length"]:
            continue  # pydantic counts after it dropped the entries it has already complained of
        corner = _corner_at(path)
        if corner is None:
            yield path, _in_words(detail, path, tree)
        elif corner[:-1] not in zones:  # a zone in pixels is one mistake, not eight
            zones.add(corner[:-1])
            yield corner, _no_corner(corner, tree)


def shown(path: KeyPath) -> str:
    """Write a path as `cameras[0].aisles[1].zone`."""
    parts = (f"[{part}]" if isinstance(part, int) else f".{_word(part)}" for part in path)
    return "".join(parts).removeprefix(".")


def printable(text: str) -> str:
    """Bring text from outside to one short line without control characters."""
    clean = repr(text)[1:-1]
    return clean if len(clean) <= _LONGEST_SHOWN else f"{clean[: _LONGEST_SHOWN - 1]}…"


def nearest(word: str, known: tuple[str, ...]) -> str | None:
    """Return the known word that `word` was probably meant to be."""
    near = difflib.get_close_matches(word.lower(), known, n=1)
    return near[0] if near else None


def _word(key: str) -> str:
    # Of `{password:hunter2}` YAML takes all for the key.
    return printable(key.partition(":")[0])


def _path_in_file(loc: tuple[str | int, ...]) -> KeyPath:
    """Drop the name of a union's branch, which pydantic puts behind the union's key."""
    return tuple(part for i, part in enumerate(loc) if i == 0 or loc[i - 1] not in _UNIONS)


def _corner_at(path: KeyPath) -> KeyPath | None:
    return path[: path.index("zone") + 2] if "zone" in path[:-1] else None


def _no_corner(path: KeyPath, tree: YamlTree) -> str:
    value = tree.data
    for part in path:
        value = value[part]
    written = printable(json.dumps(value))
    return f"expected a corner [x, y], fractions of the frame from 0 to 1, found {written}"


def _in_words(detail: ErrorDetails, path: KeyPath, tree: YamlTree) -> str:
    kind, value = detail["type"], detail["input"]
    key = str(path[-1]) if path else ""
    if kind == "missing":
        return f"missing; {_MISSING.get(key, 'it has no default')}"
    if kind == "extra_forbidden":
        return _unknown_key(path)
    if kind == "value_error":
        return str(detail["ctx"]["error"])
    expected = expected_of(detail, path)
    advice = _quotes(kind, key, value, tree.texts.get(path, ""))
    return expected + ("" if key in _PRIVATE else f", found {_found(value, tree, path)}") + advice


def expected_of(detail: ErrorDetails, path: KeyPath | None = None) -> str:
    """Say what pydantic would have taken at `path`, which is the detail's own unless given."""
    where = detail["loc"] if path is None else path
    return _expected(detail["type"], where, detail.get("ctx", {})) or detail["msg"]


def _expected(kind: str, path: KeyPath, limits: Mapping[str, Any]) -> str | None:
    key = str(path[-1]) if path else ""
    if key in _UNIONS and kind in {"float_type", "bool_type"}:
        return f"expected {_UNIONS[key]}"
    if kind == "model_type":
        return f"expected a section with {', '.join(_keys_at(path))}"
    if kind == "string_pattern_mismatch":
        return f"expected {_PATTERNS.get(key, _TOPIC_LEVEL)}"
    return _WORDS[kind](limits) if kind in _WORDS else None


def _found(value: object, tree: YamlTree, path: KeyPath) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, (dict, list)):
        return "a section" if isinstance(value, dict) else "a list"
    written = printable(tree.texts.get(path, str(value)))  # not in the file: it is a default
    return f"'{written}'" if isinstance(value, str) else written


def _quotes(kind: str, key: str, value: object, written: str) -> str:
    """Explain YAML's own reading of 07, no, "5" and 1e3."""
    if kind == "string_type" and isinstance(value, (int, float)):
        sort = "true or false" if isinstance(value, bool) else "a number"
        shown = "" if key in _PRIVATE else f': "{printable(written)}"'
        return f" (to YAML that is {sort}); put it in quotes{shown}"
    if kind in {"float_type", "int_type"} and isinstance(value, str):
        return _as_number(written)
    return ""


def _as_number(written: str) -> str:
    try:
        plain = f"{float(written):.12g}"
    except ValueError:
        return ""
    if not plain.replace(".", "", 1).isdigit():
        return ""
    return "; write it without quotes" if plain == written else f"; write it as {plain}"


def _unknown_key(path: KeyPath) -> str:
    word, colon, _ = str(path[-1]).partition(":")
    if any(secret in word.lower() for secret in _SECRET_WORDS):
        return "unknown key; no secret belongs here: put it into a file and use password_file"
    if colon:
        return "unknown key; a space must follow the colon"
    allowed = _keys_at(path[:-1])
    if near := nearest(word, allowed):
        return f"unknown key; did you mean {near}? allowed: {', '.join(allowed)}"
    homes = [home for home, keys in _sections(Config, "") if word in keys]
    moved = f"; it belongs under {homes[0]}" if homes and homes[0] else ""
    return f"unknown key{moved}; allowed here: {', '.join(allowed)}"


def _keys_at(path: KeyPath) -> tuple[str, ...]:
    section: type[BaseModel] = Config
    for part in path:
        if isinstance(part, str):
            section = _section_in(section.model_fields[part].annotation) or section
    return tuple(section.model_fields)


def _sections(section: type[BaseModel], home: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    yield home, tuple(section.model_fields)
    for key, field in section.model_fields.items():
        if inner := _section_in(field.annotation):
            yield from _sections(inner, f"{home}.{key}".removeprefix("."))


def _section_in(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next(filter(None, map(_section_in, get_args(annotation))), None)
