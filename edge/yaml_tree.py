"""YAML whose every key knows its line: plain data only, no aliases, no duplicate keys."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

KeyPath = tuple[str | int, ...]

_DEEPEST = 20
_LONGEST_NUMBER = 40
_TAG = "tag:yaml.org,2002:"
_SCALARS = ("null", "bool", "int", "float")


class YamlProblem(Exception):  # noqa: N818 - it is caught and becomes one line of a ConfigError
    """The text is not YAML that we read; `line` counts from 1."""

    def __init__(self, line: int, what: str) -> None:
        super().__init__(what)
        self.line = line
        self.what = what


@dataclass(frozen=True, slots=True)
class YamlTree:
    """The data of one document, and where each part of it was written."""

    data: Any
    lines: dict[KeyPath, int] = field(default_factory=dict)
    """Line, from 1, of each key or list item; the empty path is the document."""
    texts: dict[KeyPath, str] = field(default_factory=dict)
    """Scalars as written, without quotes."""
    problems: list[tuple[KeyPath, str]] = field(default_factory=list)
    """Keys that are written twice (`lines` has the second) or are no text: path, what is wrong."""

    def line(self, path: KeyPath) -> int:
        """Return the line of the deepest part of `path` that exists."""
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]


class _Loader(yaml.SafeLoader):
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlProblem(line, "aliases (*name) and anchors (&name) are not read; repeat it")
        if getattr(event, "tag", None):
            raise YamlProblem(
                line, "tags (!name) are not read; put text that begins with ! in quotes"
            )
        if self.depth == _DEEPEST:
            raise YamlProblem(line, f"nested more than {_DEEPEST} levels deep")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        if isinstance(node, yaml.ScalarNode) and any("\ud800" <= c <= "\udfff" for c in node.value):
            raise YamlProblem(line, "an escape from \\ud800 to \\udfff, which is no character")
        return node


def parse_yaml(text: str) -> YamlTree:
    """Read one document; raises `YamlProblem` where it is not YAML."""
    try:
        loader = _Loader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlProblem(mark.line + 1 if mark else 1, _in_words(error.problem)) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise YamlProblem(line, "a control character, which YAML does not allow") from None
    tree = YamlTree(None, {(): 1})
    if root is None:
        return tree
    data = _read(loader, root, (), tree)
    return YamlTree(data, tree.lines, tree.texts, tree.problems)


def _read(loader: _Loader, node: yaml.Node, path: KeyPath, tree: YamlTree) -> Any:  # noqa: ANN401
    if isinstance(node, yaml.MappingNode):
        return _read_mapping(loader, node, path, tree)
    if isinstance(node, yaml.SequenceNode):
        items = []
        for i, item in enumerate(node.value):
            tree.lines[(*path, i)] = item.start_mark.line + 1
            items.append(_read(loader, item, (*path, i), tree))
        return items
    tree.texts[path] = node.value
    return _read_scalar(loader, node)


def _read_mapping(
    loader: _Loader, node: yaml.MappingNode, path: KeyPath, tree: YamlTree
) -> dict[str, Any]:
    section: dict[str, Any] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            tree.problems.append(
                (path, f"line {line}: a key must be one word, not a list or section")
            )
            continue
        key = key_node.value
        if key in section:
            first = tree.lines[(*path, key)]
            what = f"written twice, first on line {first}; keep one of them"
            tree.problems.append(((*path, key), what))
            tree.lines[(*path, key)] = line
            continue
        tree.lines[(*path, key)] = line
        section[key] = _read(loader, value_node, (*path, key), tree)
    return section


def _read_scalar(loader: _Loader, node: yaml.Node) -> Any:  # noqa: ANN401
    kind = node.tag.removeprefix(_TAG)
    if kind in _SCALARS and len(node.value) <= _LONGEST_NUMBER:
        try:
            return loader.construct_object(node)
        except ValueError:  # what only looks like a number: 0b_
            return node.value
    # A date stays the text it was written as: no key here takes one, but a name may look like one.
    return node.value


def _in_words(problem: str | None) -> str:
    if problem and "'\\t'" in problem:
        return "not YAML: a tab; indent with spaces"
    if problem and "mapping values are not allowed" in problem:
        return "not YAML: a second ':' here; check the indentation, or put the text in quotes"
    return f"not YAML: {problem or 'cannot be read'}"
