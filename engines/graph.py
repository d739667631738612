"""Read and extend an ONNX graph: who makes a tensor, its shape, and new nodes at the end."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    import onnx

Shape = tuple["int | str", ...]
"""Dimensions of a tensor; a string or -1 is not fixed."""

_REDUCE_AXES_ARE_AN_INPUT = 18


class GraphBuilder:
    """Appends nodes to a model's graph, which it changes; what it makes is named `PREFIX…`."""

    def __init__(self, model: onnx.ModelProto, prefix: str = "edge/") -> None:
        self.graph = model.graph
        self._prefix = prefix
        self._opset = opset_of(model)
        self._made: dict[str, int] = {}

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """Append a node with one output and return that tensor's name."""
        return self.ops(op_type, 1, *inputs, **attributes)[0]

    def ops(self, op_type: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:  # noqa: ANN401
        """Append a node with `outputs` outputs and return their names."""
        name = self._name(op_type)
        made = [name] if outputs == 1 else [f"{name}:{i}" for i in range(outputs)]
        self.graph.node.append(helper.make_node(op_type, inputs, made, name, **attributes))
        return made

    def constant(self, value: npt.ArrayLike, dtype: type[np.generic] = np.float32) -> str:
        """Add an initializer and return its name."""
        name = self._name("constant")
        array = np.asarray(value, dtype)
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def reduce_max(self, tensor: str, axis: int) -> str:
        """Return the maximum along one axis, which goes."""
        if self._opset < _REDUCE_AXES_ARE_AN_INPUT:
            return self.op("ReduceMax", tensor, axes=[axis], keepdims=0)
        return self.op("ReduceMax", tensor, self.constant([axis], np.int64), keepdims=0)

    def unsqueeze(self, tensor: str, axis: int) -> str:
        """Insert an axis of length 1."""
        return self.op("Unsqueeze", tensor, self.constant([axis], np.int64))

    def squeeze(self, tensor: str, axis: int) -> str:
        """Remove an axis of length 1."""
        return self.op("Squeeze", tensor, self.constant([axis], np.int64))

    def slice(self, tensor: str, axis: int, start: int, stop: int) -> str:
        """Return `start:stop` of one axis."""
        bounds = (self.constant([value], np.int64) for value in (start, stop, axis))
        return self.op("Slice", tensor, *bounds)

    def reshape(self, tensor: str, shape: tuple[int, ...]) -> str:
        """Reshape; 0 copies a dimension, -1 computes one."""
        return self.op("Reshape", tensor, self.constant(shape, np.int64))

    def split(self, tensor: str, axis: int, parts: int) -> list[str]:
        """Split an axis into slices of length 1."""
        lengths = self.constant([1] * parts, np.int64)
        return self.ops("Split", parts, tensor, lengths, axis=axis)

    def gather_columns(self, tensor: str, index: str, rows: int) -> str:
        """Return, of (B, rows, N), the columns that `index` int64 (B, K) names: (B, rows, K).

        GatherElements, since it takes a different index per frame with plain ops everywhere.
        """
        repeats = self.constant([1, rows, 1], np.int64)
        spread = self.op("Tile", self.unsqueeze(index, 1), repeats)
        return self.op("GatherElements", tensor, spread, axis=2)

    def gather_rows(self, tensor: str, index: str) -> str:
        """Return, of (B, N, columns), the rows that `index` int64 (B, K) names: (B, K, columns)."""
        return self.op("GatherND", tensor, self.unsqueeze(index, 2), batch_dims=1)

    def publish(self, tensor: str, name: str) -> None:
        """Give a tensor its public name; one of the network's that has it gives it up."""
        self.vacate(name)
        self._rename(tensor, name)

    def vacate(self, name: str) -> str:
        """Call what has a name otherwise, wherever nodes make or read it; return how."""
        other = self._name(name)
        self._rename(name, other)
        return other

    def _rename(self, old: str, new: str) -> None:
        for node in self.graph.node:
            for names in (node.output, node.input):
                for position, name in enumerate(names):
                    if name == old:
                        names[position] = new

    def _name(self, stem: str) -> str:
        number = self._made.get(stem, 0)
        self._made[stem] = number + 1
        return f"{self._prefix}{stem}_{number}"


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that the model uses."""
    versions = [int(o.version) for o in model.opset_import if o.domain in ("", "ai.onnx")]
    return max(versions, default=1)


def shape_of(value: onnx.ValueInfoProto) -> Shape:
    """Return a tensor's dimensions; a string where one is symbolic, -1 where nothing is said."""
    return tuple(
        d.dim_value if d.HasField("dim_value") else (d.dim_param or -1)
        for d in value.type.tensor_type.shape.dim
    )


def producers(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """Return the node that makes each tensor."""
    return {name: node for node in graph.node for name in node.output if name}


def constants(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Return the graph's initializers by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def attribute(node: onnx.NodeProto, name: str, default: Any = None) -> Any:  # noqa: ANN401
    """Return an attribute's value, or `default` where the node has none of that name."""
    for item in node.attribute:
        if item.name == name:
            return helper.get_attribute_value(item)
    return default


def tail_operators(graph: onnx.GraphProto, tensor: str) -> set[str]:
    """Return the operators met from `tensor` upwards until convolutions or the graph's inputs."""
    return {node.op_type for node in tail_producers(graph, tensor)}


def tail_producers(graph: onnx.GraphProto, tensor: str) -> Iterator[onnx.NodeProto]:
    """Yield the nodes met from `tensor` upwards until convolutions, these too, or inputs."""

    def into(node: onnx.NodeProto) -> Iterable[str]:
        return () if node.op_type == "Conv" else node.input

    return upwards(producers(graph), tensor, into)


def upwards(
    made_by: Mapping[str, onnx.NodeProto],
    tensor: str,
    into: Callable[[onnx.NodeProto], Iterable[str]],
) -> Iterator[onnx.NodeProto]:
    """Yield the nodes that make `tensor`, the nearest first; `into` says which inputs to follow."""
    seen: set[str] = set()
    waiting = deque([tensor])
    while waiting:
        name = waiting.popleft()
        node = made_by.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        yield node
        waiting.extend(into(node))


def prune(graph: onnx.GraphProto) -> None:
    """Remove the nodes and initializers that no output of the graph needs."""
    needed = {output.name for output in graph.output}
    kept: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            needed.update(read_inside(node))
    initializers = [tensor for tensor in graph.initializer if tensor.name in needed]
    shapes = [value for value in graph.value_info if value.name in needed]
    _replace(graph.node, reversed(kept))
    _replace(graph.initializer, initializers)
    _replace(graph.value_info, shapes)


def read_inside(node: onnx.NodeProto) -> Iterable[str]:
    """Names that a node's subgraphs read, which may be the outer graph's."""
    for branch in _branches(node):
        for graph in with_branches(branch):
            for inner in graph.node:
                yield from inner.input


def with_branches(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """Yield a graph, and every graph inside its nodes."""
    yield graph
    for node in graph.node:
        for branch in _branches(node):
            yield from with_branches(branch)


def _branches(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    return (item.g for item in node.attribute if item.HasField("g"))


def _replace(field: Any, items: Iterable[Any]) -> None:  # noqa: ANN401
    copies = list(items)
    del field[:]
    field.extend(copies)
