"""Read the configuration file; name everything wrong with it at once, each with its line."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from edge.aisles.classifier import read_passport
from edge.capture.source import parse_source
from edge.config import Config
from edge.config_problems import nearest, printable, problems_of, shown
from edge.errors import ConfigError, SourceError
from edge.yaml_tree import YamlProblem, YamlTree, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from edge.yaml_tree import KeyPath

    Problem = tuple[KeyPath, str]

_LARGEST = 1_000_000
"""Bytes; the largest site imaginable needs a tenth of it."""


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A valid configuration, and where each key of it was written."""

    path: Path
    config: Config
    tree: YamlTree

    def refuse_unknown_labels(self, known: Sequence[str]) -> None:
        """Raise `ConfigError` naming each label that is not one of the bundle's `known` labels."""
        if problems := list(_unknown_labels(self.config, tuple(known))):
            raise _refusal(self.path, self.tree, problems)

    def refuse_unknown_aisles(self) -> None:
        """Raise `ConfigError` naming each aisle that its moving camera's classifier does not know.

        Raises `BundleError` for a classifier that cannot be read.
        """
        if problems := list(_unknown_aisles(self.config)):
            raise _refusal(self.path, self.tree, problems)


def load_config(path: Path) -> Config:
    """Read and check a configuration file.

    Raises `ConfigError` whose `problems` are all of them, `FILE:LINE: key: what is wrong, what is
    allowed`, in the order of the file. Secrets and source URIs are never part of one.
    """
    return read_config_file(path).config


def read_config_file(path: Path) -> ConfigFile:
    """Do as `load_config` does, and keep the lines for what is checked later."""
    text = _read_text(path)
    try:
        tree = parse_yaml(text)
    except YamlProblem as problem:
        raise ConfigError([f"{path}:{problem.line}: {problem.what}"]) from None
    if tree.data is None:
        raise ConfigError([f"{path}:1: empty; a configuration needs bundle, cameras and mqtt"])
    problems = [*tree.problems, *_of_cameras(tree.data)]
    try:
        # As JSON and strict, so that a list may be a tuple, yet true is no number and "5" neither.
        config = Config.model_validate_json(json.dumps(tree.data), strict=True)
    except ValidationError as error:
        found = list(problems_of(error, tree))
        # What is wrong with the whole (a name twice) has been named above with its line.
        found = [problem for problem in found if problem[0] or not problems]
        raise _refusal(path, tree, problems + found) from None
    if problems:
        raise _refusal(path, tree, problems)
    return ConfigFile(path, config, tree)


def _read_text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            raw = file.read(_LARGEST + 1)
    except OSError as error:
        hint = "give the configuration's path, and let this user read it"
        raise ConfigError([f"{path}: cannot be read: {error.strerror}; {hint}"]) from None
    if len(raw) > _LARGEST:
        raise ConfigError([f"{path}: larger than {_LARGEST} bytes; this is no configuration"])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError([f"{path}:{line}: not UTF-8 text; save the file as UTF-8"]) from None


def _refusal(path: Path, tree: YamlTree, problems: Iterable[Problem]) -> ConfigError:
    placed = sorted((tree.line(where), shown(where), _one_line(what)) for where, what in problems)
    return ConfigError(
        [
            f"{path}:{line}: {where}: {what}" if where else f"{path}:{line}: {what}"
            for line, where, what in placed
        ]
    )


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def _of_cameras(data: object) -> Iterator[Problem]:
    cameras = data.get("cameras") if isinstance(data, dict) else None
    first: dict[str, int] = {}
    for i, camera in enumerate(cameras if isinstance(cameras, list) else ()):
        if not isinstance(camera, dict):
            continue
        source, name = camera.get("source"), camera.get("name")
        if isinstance(source, str) and source:
            yield from _of_source(("cameras", i, "source"), source)
        if isinstance(name, str) and first.setdefault(name, i) != i:
            taken = f"cameras[{first[name]}]"
            yield ("cameras", i, "name"), f"{printable(name)} is already the name of {taken}"


def _of_source(where: KeyPath, source: str) -> Iterator[Problem]:
    try:
        parse_source(source)
    except SourceError as error:
        yield where, str(error)


def _unknown_labels(config: Config, known: tuple[str, ...]) -> Iterator[Problem]:
    for i, camera in enumerate(config.cameras):
        for j, aisle in enumerate(camera.aisles):
            where: KeyPath = ("cameras", i, "aisles", j)
            for k, label in enumerate(aisle.labels or ()):
                if label not in known:
                    yield (*where, "labels", k), _no_such_label(label, known)
            for label in aisle.threshold if isinstance(aisle.threshold, dict) else ():
                if label not in known:
                    yield (*where, "threshold", label), _no_such_label(label, known)


def _unknown_aisles(config: Config) -> Iterator[Problem]:
    for i, camera in enumerate(config.cameras):
        if camera.aisles_by is None or camera.aisles_by.classifier is None:
            continue
        known = read_passport(camera.aisles_by.classifier).aisles
        for j, aisle in enumerate(camera.aisles):
            if aisle.id not in known:
                knows = f"knows no aisle {aisle.id}; it knows {printable(', '.join(known))}"
                yield ("cameras", i, "aisles", j, "id"), f"the classifier of aisles_by {knows}"


def _no_such_label(label: str, known: tuple[str, ...]) -> str:
    near = nearest(label, known)
    meant = f"did you mean {near}?" if near else f"it has {printable(', '.join(known))}"
    return f"the bundle has no label {printable(label)}; {meant}"
