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
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

_PLACES = 2
"""Axis of (B, C, N) along which the places of a feature map lie, or -1."""
AS_PRODUCT = "/as product"
"""Behind the name of a convolution's output: the MatMul that it has become."""


def portable(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a contract graph, quantised or not, that ONNX Runtime runs faster."""
    written = nms.as_operators(model)
    _Heads(written).turn()
    return written


def moved_from(made_by: Mapping[str, onnx.NodeProto], name: str) -> str:
    """Return the tensor (B, C, H, W) whose pixels in rows a MatMul reads that was a convolution."""
    for _ in ("Reshape", "Transpose"):
        name = made_by[name].input[0]
    return name


@dataclass(frozen=True, slots=True)
class _Head:
    """A convolution of single pixels, and the Reshape to (B, C, N) behind it."""

    conv: onnx.NodeProto
    weights: npt.NDArray[np.float32]
    """(C, channels read)."""
    bias: npt.NDArray[np.float32] | None


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
        """Turn every Concat of heads of which only the best and the chosen places are read."""
        found = {
            node.output[0]: heads
            for node in self._graph.node
            if node.op_type == "Concat" and (heads := self._heads(node)) and self._picked(node)
        }
        replaced = {reader.output[0]: name for name in found for reader in self._readers[name]}
        nodes = list(self._graph.node)
        del self._graph.node[:]
        rows: dict[str, str] = {}
        for node in nodes:
            if node.output[0] in found:
                rows[node.output[0]] = self._rows(found[node.output[0]])
            elif node.output[0] in replaced:
                self._read(rows[replaced[node.output[0]]], node)
            else:
                self._graph.node.append(node)
        prune(self._graph)

    def _heads(self, concat: onnx.NodeProto) -> list[_Head]:
        """Return the heads that a Concat joins, none if there is anything else."""
        heads = [self._head(name) for name in concat.input]
        if attribute(concat, "axis") not in {_PLACES, -1}:
            return []
        whole = [head for head in heads if head is not None]
        return whole if len(whole) == len(heads) else []

    def _head(self, name: str) -> _Head | None:
        reshape = self._producers.get(name)
        if reshape is None or reshape.op_type != "Reshape" or not self._is_flat(reshape):
            return None
        conv = self._producers.get(reshape.input[0])
        if conv is None or conv.op_type != "Conv" or len(self._readers[conv.output[0]]) > 1:
            return None
        read = self._producers.get(conv.input[0])
        stored = [self._constants.get(name) for name in conv.input[1:]]
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

    def _is_flat(self, reshape: onnx.NodeProto) -> bool:
        """Return whether a Reshape makes (B, C, N) of (B, C, H, W)."""
        shape = self._constants.get(reshape.input[1])
        sides = [] if shape is None else numpy_helper.to_array(shape).tolist()
        conv = self._producers.get(reshape.input[0])
        weights = None if conv is None else self._constants.get((*conv.input, "", "")[1])
        return (
            len(sides) == _PLACES + 1
            and sides[0] in {0, 1, -1}
            and weights is not None
            and sides[1] in {0, weights.dims[0]}
        )

    def _picked(self, concat: onnx.NodeProto) -> bool:
        """Return whether all readers are ones that `_read` can write."""
        readers = self._readers.get(concat.output[0], [])
        return bool(readers) and all(
            self._is_best(node) or self._index(node) is not None for node in readers
        )

    def _is_best(self, node: onnx.NodeProto) -> bool:
        if node.op_type != "ReduceMax" or attribute(node, "keepdims", 1):
            return False
        axes = attribute(node, "axes")
        if axes is None and len(node.input) > 1:
            stored = self._constants.get(node.input[1])
            axes = None if stored is None else numpy_helper.to_array(stored).tolist()
        return axes is not None and list(axes) == [1]

    def _index(self, node: onnx.NodeProto) -> str | None:
        """Return the index (B, K) by which `GraphBuilder.gather_columns` picks places."""
        if node.op_type != "GatherElements" or attribute(node, "axis", 0) != _PLACES:
            return None
        tile = self._producers.get(node.input[1])
        spread = None if tile is None else self._producers.get(tile.input[0])
        if tile is None or tile.op_type != "Tile" or spread is None:
            return None
        return str(spread.input[0]) if spread.op_type == "Unsqueeze" else None

    def _rows(self, heads: Sequence[_Head]) -> str:
        """Write the heads as (B, N, C); return that."""
        return self._builder.op("Concat", *(self._row(head) for head in heads), axis=1)

    def _row(self, head: _Head) -> str:
        builder = self._builder
        pixels = builder.op("Transpose", head.conv.input[0], perm=[0, 2, 3, 1])
        read = builder.reshape(pixels, (0, -1, head.weights.shape[1]))
        weights = builder.constant(np.ascontiguousarray(head.weights.T))
        made = builder.op("MatMul", read, weights)
        builder.graph.node[-1].name = head.conv.output[0] + AS_PRODUCT
        return made if head.bias is None else builder.op("Add", made, builder.constant(head.bias))

    def _read(self, rows: str, node: onnx.NodeProto) -> None:
        """Write what read (B, C, N) as what reads the rows."""
        builder, index = self._builder, self._index(node)
        if index is None:
            made = builder.reduce_max(rows, _PLACES)
        else:
            made = builder.op("Transpose", builder.gather_rows(rows, index), perm=[0, 2, 1])
        builder.publish(made, node.output[0])
