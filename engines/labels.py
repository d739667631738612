"""The names of a model's labels: from a file, from its metadata, or numbered."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml

from engines.errors import BuildError

if TYPE_CHECKING:
    from pathlib import Path

    from engines.reading.model_file import Source

_STRUCTURED = {".json", ".yaml", ".yml"}
_KEYS = ("names", "id2label")
"""What holds them in a data set's YAML, and in the config.json of transformers."""
_LABEL_MAP = ".pbtxt"
"""TensorFlow's: `item { id: 1 name: "…" display_name: "…" }`, from 1, perhaps with gaps."""
_ITEM, _ID = re.compile(r"\bitem\s*\{([^}]*)\}"), re.compile(r"\bid\s*:\s*(\d+)")
_NAMES = tuple(re.compile(rf"\b{key}\s*:\s*[\"']([^\"']*)") for key in ("display_name", "name"))
_LARGEST_ID = 100_000
_COCO, _COCO_IDS = 80, 90
_COCO_GAPS = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}
"""COCO's 80 categories have ids from 1 to 90, all but these."""
_OF_COCO = (_COCO_IDS, _COCO_IDS + 1)
"""Labels of models that count by these ids, from 1 or 0 on."""
_COCO_ENDS = ("person", "toothbrush")
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
    found = "has some that cannot be read" if "names" in source.metadata else "names none"
    return tuple(
        map(_numbered, range(count))
    ), f"nowhere: the model {found}; give --labels FILE, one name per line"


def _read(file: Path) -> tuple[str, ...]:
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == _LABEL_MAP:
            return _mapped(text, str(file))
        if file.suffix.lower() not in _STRUCTURED:
            return tuple(line.strip() for line in text.splitlines() if line.strip())
        content = yaml.safe_load(text) if file.suffix.lower() != ".json" else json.loads(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BuildError(
            f"labels {file}: cannot be read: {str(error).splitlines()[0]}",
            "give a text file with one name per line, or JSON or YAML with a list or `names:`",
        ) from error
    if isinstance(content, dict):
        content = next((content[key] for key in _KEYS if key in content), content)
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


def _mapped(text: str, where: str) -> tuple[str, ...]:
    """Names from a label map, by id; what has none is numbered."""
    found: dict[int, str] = {}
    for item in _ITEM.findall(text):
        number = _ID.search(item)
        name = next((hit for key in _NAMES if (hit := key.search(item))), None)
        if number and name and 0 < int(number[1]) <= _LARGEST_ID:
            found[int(number[1]) - 1] = name[1]
    if not found:
        raise BuildError(
            f'labels of {where}: expected item {{ id: 1 name: "…" }}, found none',
            "give --labels FILE, one name per line",
        )
    return tuple(found.get(index, _numbered(index)) for index in range(max(found) + 1))


def _at_coco_ids(names: tuple[str, ...], count: int) -> tuple[str, ...]:
    """Return COCO's names where a model of 90 labels, or of 91 from 0 on, has them."""
    first, left = _COCO_IDS + 1 - count, iter(names)
    return tuple(
        _numbered(number - first) if number in {0, *_COCO_GAPS} else next(left)
        for number in range(first, _COCO_IDS + 1)
    )


def _numbered(index: int) -> str:
    """Return the name of a label that has none."""
    return f"class_{index}"


def _counted(names: tuple[str, ...], count: int, where: str) -> tuple[tuple[str, ...], str]:
    if len(names) == count + 1 and names[0].strip(" _").lower() == _BACKGROUND:
        return names[1:], f"{where}, without its first, {names[0]!r}"
    if len(names) == _COCO and (names[0], names[-1]) == _COCO_ENDS and count in _OF_COCO:
        return _at_coco_ids(names, count), f"{where}, at COCO's ids, of which 10 have no name"
    if len(names) != count:
        raise BuildError(
            f"labels of {where}: expected {count}, as the model's output has, found {len(names)}",
            "give --labels FILE with one name per output, in the order of training",
        )
    for name in names:
        if not name.strip() or names.count(name) > 1:
            raise BuildError(
                f"labels of {where}: expected {count} names, none twice, as objects are counted by "
                f"name; found {name!r} {names.count(name)} times",
                "give --labels FILE with a name of its own for each",
            )
    return names, where
