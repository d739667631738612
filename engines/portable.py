"""A graph for ONNX Runtime alone: the same numbers from what it computes faster than plain ops.

NMS becomes an operator. The heads go channels last: between integer convolutions ONNX Runtime has
them so already, the best score of a place is read along memory, and a candidate's values lie side
by side. What is left in float32 there are convolutions that see one pixel, matrix products then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines import nms
from engines.graph import GraphBuilder, attribute, constants, producers, prune

if TYPE_CHECKING:
    import numpy.typing as npt

_PLACES = 2
"""Axis of (B, C, N) along which the places of a feature map lie, or -1."""
AS_PRODUCT = "/as product"
"""Behind the name of a convolution's output: the MatMul that it has become.

It reads a Transpose of what the convolution read.
"""


def portable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a contract graph, quantised or not, that ONNX Runtime runs faster."""
    written = nms.as_operators(model)
    _Heads(written).turn()
    return written


@dataclass(frozen=True, slots=True)
class _Head:
    """A convolution in float32 that sees one pixel."""

    conv: onnx.NodeProto
    weights: npt.NDArray[np.float32]
    """(C, channels read)."""
    bias: npt.NDArray[np.float32] | None


_Level = list[_Head]
"""What is made of one feature map: the heads whose channels stand one behind the other."""


class _Heads:
    """Turns heads of a graph, which it changes."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._graph = model.graph
        self._builder = GraphBuilder(model, "rows/")
        self._producers = producers(model.graph)
        self._constants = constants(model.graph)
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in model.graph.node:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def turn(self) -> None:
        """Turn heads of which the best and the chosen places are read, and those turned anyway."""
        nodes = list(self._graph.node)
        del self._graph.node[:]
        rows: dict[str, str] = {}
        for node in nodes:
            levels = self._levels(node) if node.op_type == "Concat" else []
            if levels and self._is_picked(node.output[0], _channels(levels[0])):
                joined = [self._level(level) for level in levels]
                rows[node.output[0]] = self._builder.op("Concat", *joined, axis=1)
            elif node.input and node.input[0] in rows:
                self._read(rows, node)
            elif (made := self._turned_back(node)) is not None:
                self._builder.publish(made, node.output[0])
            else:
                self._graph.node.append(node)
        prune(self._graph)

    def _levels(self, concat: onnx.NodeProto) -> list[_Level]:
        """Return the heads that a Concat joins, by feature map; none if there is anything else."""
        if attribute(concat, "axis") not in {_PLACES, -1}:
            return []
        levels = [self._flattened(name) for name in concat.input]
        return levels if all(levels) else []

    def _flattened(self, name: str) -> _Level:
        """Return the heads of which a Reshape makes (B, C, N), none where it is anything else."""
        reshape = self._producers.get(name)
        if reshape is None or reshape.op_type != "Reshape":
            return []
        made = self._producers.get(reshape.input[0])
        if made is None:
            return []
        joins = made.op_type == "Concat" and attribute(made, "axis") == 1
        heads = [self._head(each) for each in (made.input if joins else made.output)]
        whole = [head for head in heads if head is not None]
        channels = _channels(whole)
        sides = self._integers(reshape.input[1])
        flat = len(sides) == _PLACES + 1 and sides[0] in {0, 1, -1} and sides[1] in {0, channels}
        return whole if flat and len(whole) == len(heads) else []

    def _head(self, name: str) -> _Head | None:
        conv = self._producers.get(name)
        if conv is None or conv.op_type != "Conv" or len(self._readers[name]) > 1:
            return None
        read = self._producers.get(conv.input[0])
        stored = [self._constants.get(constant) for constant in conv.input[1:]]
        if read is None or read.op_type != "DequantizeLinear" or None in stored:
            return None
        weights, *bias = (numpy_helper.to_array(tensor) for tensor in stored if tensor is not None)
        plain = (
            weights.shape[2:] == (1, 1)
            and attribute(conv, "group", 1) == 1
            and not any(attribute(conv, "pads", ()))
            and set(attribute(conv, "strides", (1,))) == {1}
        )
        return _Head(conv, weights[:, :, 0, 0], bias[0] if bias else None) if plain else None

    def _is_picked(self, name: str, channels: int) -> bool:
        """Return whether all readers of a tensor (B, channels, N) are ones that `_read` writes."""
        readers = self._readers.get(name, [])
        return bool(readers) and all(self._is_pick(node, channels) for node in readers)

    def _is_pick(self, node: onnx.NodeProto, channels: int) -> bool:
        if _parts_channels(node):
            sizes = self._integers(node.input[1])
            return len(sizes) == len(node.output) and all(map(self._is_picked, node.output, sizes))
        return self._is_best(node) or self._index(node, channels) is not None

    def _is_best(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "ReduceMax" or attribute(node, "keepdims", 1):
            return False
        return list(attribute(node, "axes", ())) == [1] or (
            len(node.input) > 1 and self._integers(node.input[1]) == [1]
        )

    def _index(self, node: onnx.NodeProto, channels: int) -> str | None:
        """Return the index (B, K) with which `GraphBuilder.gather_columns` picks all of a place."""
        if node.op_type != "GatherElements" or attribute(node, "axis", 0) != _PLACES:
            return None
        tile = self._producers.get(node.input[1])
        spread = None if tile is None else self._producers.get(tile.input[0])
        spreads = (
            tile is not None
            and spread is not None
            and (tile.op_type, spread.op_type) == ("Tile", "Unsqueeze")
            and self._integers(tile.input[1]) == [1, channels, 1]
            and self._integers(spread.input[1]) == [1]
        )
        return str(spread.input[0]) if spread is not None and spreads else None

    def _integers(self, name: str) -> list[int]:
        """Return a constant list, nothing where it is none."""
        stored = self._constants.get(name)
        return [] if stored is None else numpy_helper.to_array(stored).ravel().tolist()

    def _turned_back(self, node: onnx.NodeProto) -> str | None:
        """Write a Transpose that brings a head's channels last: they are so already; else None."""
        if node.op_type != "Transpose" or attribute(node, "perm") != [0, 2, 3, 1]:
            return None
        head = self._head(node.input[0])
        return None if head is None else self._product(head)

    def _level(self, level: _Level) -> str:
        """Write what is made of a feature map as (B, H * W, C); return that."""
        made = [self._product(head) for head in level]
        joined = made[0] if len(made) == 1 else self._builder.op("Concat", *made, axis=3)
        return self._builder.reshape(joined, (0, -1, _channels(level)))

    def _product(self, head: _Head) -> str:
        """Write a head as (B, H, W, C); return that."""
        builder = self._builder
        pixels = builder.op("Transpose", head.conv.input[0], perm=[0, 2, 3, 1])
        weights = builder.constant(np.ascontiguousarray(head.weights.T))
        made = builder.op("MatMul", pixels, weights)
        builder.graph.node[-1].name = head.conv.output[0] + AS_PRODUCT
        return made if head.bias is None else builder.op("Add", made, builder.constant(head.bias))

    def _read(self, rows: dict[str, str], node: onnx.NodeProto) -> None:
        """Write what reads (B, C, N) as what reads the rows; `rows` gets to know what it parts."""
        builder, read = self._builder, rows[node.input[0]]
        if _parts_channels(node):
            parts = builder.ops("Split", len(node.output), read, *node.input[1:], axis=_PLACES)
            rows.update(zip(node.output, parts, strict=True))
            return
        if node.op_type == "ReduceMax":
            made = builder.reduce_max(read, _PLACES)
        else:
            index = self._producers[self._producers[node.input[1]].input[0]].input[0]
            made = builder.op("Transpose", builder.gather_rows(read, index), perm=[0, 2, 1])
        builder.publish(made, node.output[0])


def _channels(level: _Level) -> int:
    return sum(len(head.weights) for head in level)


def _parts_channels(node: onnx.NodeProto) -> bool:
    return node.op_type == "Split" and attribute(node, "axis") == 1 and len(node.input) > 1
