"""Write "assign to these columns" as a join of columns.

PyTorch exports `y[..., 0:2] = …` as ScatterND with an index for every element, the frame's number
in the batch among them: slow, and of one batch for ever. Older YOLOv5, v7 and YOLOX decode so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from engines.graph import attribute, constants, prune, shape_of

if TYPE_CHECKING:
    import numpy.typing as npt


def fold_assignments(model: onnx.ModelProto) -> None:
    """Replace, in place, each ScatterND that overwrites a range of the last axis."""
    graph = model.graph
    if not any(node.op_type == "ScatterND" for node in graph.node):
        return
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {v.name: shape_of(v) for v in (*inferred.value_info, *inferred.input)}
    known = constants(graph)
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        columns = None
        if node.op_type == "ScatterND" and attribute(node, "reduction", b"none") == b"none":
            shape, index = shapes.get(node.input[0], ()), known.get(node.input[1])
            if index is not None and shape and all(isinstance(n, int) for n in shape):
                sides = tuple(int(n) for n in shape)
                columns = _columns(sides, numpy_helper.to_array(index))
        nodes += [node] if columns is None else _joined(graph, node, columns)
    del graph.node[:]
    graph.node.extend(nodes)
    prune(graph)


def _columns(shape: tuple[int, ...], index: npt.NDArray[np.int64]) -> tuple[int, int, int] | None:
    """Return the range of the last axis that an index names for all else, and its length."""
    if index.ndim != len(shape) + 1 or index.shape[-1] != len(shape) or not index.size:
        return None
    start, count = int(index.reshape(-1, len(shape))[0, -1]), index.shape[-2]
    ranges = [*map(np.arange, shape[:-1]), np.arange(start, start + count)]
    whole = np.stack(np.meshgrid(*ranges, indexing="ij"), -1)
    return (start, start + count, shape[-1]) if np.array_equal(whole, index) else None


def _joined(
    graph: onnx.GraphProto, node: onnx.NodeProto, columns: tuple[int, int, int]
) -> list[onnx.NodeProto]:
    """Return nodes that join what is before the columns, the new ones, and what is behind."""
    data, updates, output = node.input[0], node.input[2], node.output[0]
    start, stop, length = columns
    parts, made = [], []
    for name, low, high in (("before", 0, start), ("", start, stop), ("behind", stop, length)):
        if name and low < high:
            bounds = []
            for what, value in (("from", low), ("to", high), ("axis", -1)):
                bounds.append(f"{output}/{name}/{what}")
                graph.initializer.append(numpy_helper.from_array(np.array([value]), bounds[-1]))
            made.append(helper.make_node("Slice", [data, *bounds], [f"{output}/{name}"]))
            parts.append(f"{output}/{name}")
        elif not name:
            parts.append(updates)
    return [*made, helper.make_node("Concat", parts, [output], node.name, axis=-1)]
