"""The names of a model's labels: from a file, from its metadata, or numbered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from engines.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from engines.model import Source

_STRUCTURED = {".json", ".yaml", ".yml"}
_BACKGROUND = "background"
"""What SSD's label files begin with: a class that no detection has."""


def find_labels(source: Source, count: int, file: Path | None) -> tuple[tuple[str, ...], str]:
    """Return `count` names and where they are from; a wrong number of them is an error.

    A model without names gets `class_0`…: eighty outputs are not a reason to assume COCO.
    """
    if file is not None:
        return _counted(_read(file), count, str(file))
    stated = source.literal("names")
    if isinstance(stated, (dict, list)):
        where = "the model's metadata"
        return _counted(_names(stated, where), count, where)
    numbered = tuple(f"class_{index}" for index in range(count))
    return numbered, "nowhere: the model names none; give --labels FILE, one name per line"


def _read(file: Path) -> tuple[str, ...]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() not in _STRUCTURED:
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        content = yaml.safe_load(text) if file.suffix.lower() != ".json" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BuildError(
            f"labels {file}: cannot be read: {str(error).splitlines()[0]}",
            "give a text file with one name per line, or JSON or YAML with a list or `names:`",
        ) from error
    if isinstance(content, dict) and "names" in content:
        content = content["names"]
    return _names(content, str(file))


def _names(content: Any, where: str) -> tuple[str, ...]:  # noqa: ANN401
    """Names from a list, or from a dict of index to name without gaps."""
    if isinstance(content, dict):
        try:
            numbered = {int(index): name for index, name in content.items()}
            content = [numbered[index] for index in range(len(numbered))]
        except (KeyError, TypeError, ValueError):
            content = None
    if not isinstance(content, list) or not content:
        raise BuildError(
            f"labels of {where}: expected a list of names, or index: name from 0 without gaps",
            "give --labels FILE, one name per line",
        )
    return tuple(str(name) for name in content)


def _counted(names: tuple[str, ...], count: int, where: str) -> tuple[tuple[str, ...], str]:
    if len(names) == count + 1 and names[0].strip(" _").lower() == _BACKGROUND:
        return names[1:], f"{where}, without its first, {names[0]!r}"
    if len(names) != count:
        raise BuildError(
            f"labels of {where}: expected {count}, as the model's output has, found {len(names)}",
            "give --labels FILE with one name per output, in the order of training",
        )
    return names, where
