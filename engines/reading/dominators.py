"""The tensors of a graph through which everything has come that some others are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

SHAPES = {"Shape", "Size"}
"""Operators that read how large a tensor is, and none of its values."""


def dominators(graph: onnx.GraphProto, tensors: list[str]) -> Iterator[str]:
    """Yield the tensors that every way from an input to `tensors` passes, the nearest first.

    Ways through a tensor's shape do not count.
    """
    above: dict[str, str | None] = {value.name: None for value in graph.input}
    depth = dict.fromkeys(above, 0)
    for node in graph.node:
        read = [name for name in node.input if name in above]
        if not read or node.op_type in SHAPES:
            continue
        common = _common(read, above, depth)
        for name in node.output:
            above[name] = common
            depth[name] = depth.get(common or "", -1) + 1
    if not above.keys() >= set(tensors):
        return
    found = _common(tensors, above, depth)
    while found is not None and above[found] is not None:
        yield found
        found = above[found]


def _common(names: list[str], above: dict[str, str | None], depth: dict[str, int]) -> str | None:
    """Return the nearest tensor above or at all of `names`."""
    common: str | None = names[0] if names else None
    for name in names[1:]:
        other: str | None = name
        while common != other:
            if common is None or other is None:
                return None
            if depth[common] >= depth[other]:
                common = above[common]
            else:
                other = above[other]
    return common
