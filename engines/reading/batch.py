"""Make the batch of a static graph symbolic, and prove that it is."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from engines.graph import Shape, attribute, constants, opset_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

SYMBOL = "batch"
MAX_BATCH = 16
"""Largest batch that a graph with a symbolic one is offered for."""
_RESIZE_SIZES = 3
_BROADCASTS = {"Add", "Div", "Max", "Min", "Mul", "Sub"}
"""Ops whose inputs need not have the same shape."""
_SAME = 1e-3
"""Share of an output's largest value that kernels of different batch may differ by."""

_log = logging.getLogger(__name__)


def with_free_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto | None:
    """Return the model with a symbolic batch in place of `batch`, proven by running it.

    None where the graph cannot be freed: exporters write the batch into shapes in many ways.
    """
    if len(model.graph.input) != 1:
        return None
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    if not all(value.type.tensor_type.shape.dim for value in freed.graph.output):
        _log.info("the batch stays %d: an output has no axis for it", batch)
        return None
    _free_shapes(freed, batch)
    for value in (*freed.graph.input, *freed.graph.output):
        leading = value.type.tensor_type.shape.dim[0]
        if leading.dim_value == batch:
            leading.dim_param = SYMBOL
    try:
        _prove(freed)
    except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no base but this
        _log.info("the batch stays %d: %s", batch, str(error).splitlines()[0])
        return None
    return freed


def _free_shapes(model: onnx.ModelProto, batch: int) -> None:
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {
        v.name: shape_of(v) for v in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    known = constants(model.graph)
    for number, node in enumerate(list(model.graph.node)):
        batched = bool(node.input) and shapes.get(node.input[0], ())[:1] == (batch,)
        if node.op_type == "Reshape" and node.input[1] in known:
            _free_leading(model.graph, node, shapes.get(node.output[0], ()), batch, batched, number)
        elif node.op_type == "Concat":
            _spread_constants(model.graph, node, known, batch)
        elif node.op_type in _BROADCASTS and batch > 1:
            _narrow_constants(model.graph, node, known, shapes.get(node.output[0], ()))
        elif node.op_type == "Resize" and len(node.input) > _RESIZE_SIZES and batched:
            _scale_instead(model, node, known.get(node.input[_RESIZE_SIZES]), shapes, number)


def _free_leading(  # noqa: PLR0913, PLR0917 - a node and what is known of it
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    shape: Shape,
    batch: int,
    batched: bool,  # noqa: FBT001
    number: int,
) -> None:
    """Turn a Reshape to (batch, ...) into (0, ...), which copies, or (-1, ...), which computes.

    So is one to (k * batch, ...): attention over areas counts these with the batch.
    """
    if not shape or not all(isinstance(n, int) and n > 0 for n in shape):
        return
    if int(shape[0]) % batch == 0:
        leading = 0 if batched and shape[0] == batch else -1
        target = np.array([leading, *shape[1:]], np.int64)
        node.input[1] = _constant(graph, f"edge/shape_{number}", target)
        # Where 0 is allowed to mean 0, it does not copy; newer exporters say so of all.
        kept = [item for item in node.attribute if item.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)


def _spread_constants(
    graph: onnx.GraphProto, node: onnx.NodeProto, known: dict[str, onnx.TensorProto], batch: int
) -> None:
    """Repeat a constant (batch, ...) for as many frames as what it is joined with has."""
    others = [name for name in node.input if name not in known]
    for position, name in enumerate(node.input):
        value = numpy_helper.to_array(known[name]) if name in known and others else np.empty(0)
        if value.shape[:1] != (batch,) or attribute(node, "axis") == 0:
            continue
        made = f"edge/spread_{node.output[0]}_{position}"
        one = _constant(graph, f"{made}/one", value[:1])
        rest = _constant(graph, f"{made}/rest", np.array(value.shape[1:], np.int64))
        frames, shape = f"{made}/frames", f"{made}/shape"
        spread = [
            onnx.helper.make_node("Shape", [others[0]], [frames], start=0, end=1),
            onnx.helper.make_node("Concat", [frames, rest], [shape], axis=0),
            onnx.helper.make_node("Expand", [one, shape], [made]),
        ]
        node.input[position] = made
        _insert(graph, spread, before=node)


def _narrow_constants(
    graph: onnx.GraphProto, node: onnx.NodeProto, known: dict[str, onnx.TensorProto], shape: Shape
) -> None:
    """Keep of a constant (batch, ...) that is the same for each frame what one frame needs."""
    for position, name in enumerate(node.input):
        value = numpy_helper.to_array(known[name]) if name in known else np.empty(0)
        whole = value.ndim == len(shape) and value.shape[:1] == shape[:1]
        if whole and value.shape[0] > 1 and (value == value[:1]).all():
            node.input[position] = _constant(graph, f"edge/one_{node.output[0]}", value[:1])


def _insert(graph: onnx.GraphProto, nodes: list[onnx.NodeProto], before: onnx.NodeProto) -> None:
    where = next(i for i, node in enumerate(graph.node) if node.output == before.output)
    for offset, node in enumerate(nodes):
        graph.node.insert(where + offset, node)


def _scale_instead(
    model: onnx.ModelProto,
    node: onnx.NodeProto,
    target: onnx.TensorProto | None,
    shapes: dict[str, Shape],
    number: int,
) -> None:
    """Turn a Resize to fixed sizes into one by fixed scales."""
    source = np.array(shapes[node.input[0]], np.float32)
    if target is None or opset_of(model) < 13:  # noqa: PLR2004 - where an empty input may be left out
        return
    scales = (numpy_helper.to_array(target) / source).astype(np.float32)
    node.input[2] = _constant(model.graph, f"edge/scales_{number}", scales)
    del node.input[_RESIZE_SIZES:]


def _constant(graph: onnx.GraphProto, name: str, value: npt.NDArray[np.generic]) -> str:
    graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def _prove(model: onnx.ModelProto) -> None:
    """Raise unless two frames at once give what they give one after the other."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    taken = session.get_inputs()[0]
    frames = np.random.default_rng(0).random((2, *taken.shape[1:]), np.float32)
    together = session.run(None, {taken.name: frames})
    for index in range(2):
        alone = session.run(None, {taken.name: frames[index : index + 1]})
        _compare(alone, [output[index : index + 1] for output in together])


def _compare(
    alone: Iterable[npt.NDArray[np.generic]], together: Iterable[npt.NDArray[np.generic]]
) -> None:
    for one, many in zip(alone, together, strict=True):
        if one.shape != many.shape:
            raise ValueError(f"a frame alone gives {one.shape}, in a batch {many.shape}")
        slack = _SAME * max(1e-6, float(np.abs(one).max()))
        if not np.allclose(one, many, rtol=0, atol=slack):
            raise ValueError("a frame alone gives other values than in a batch")
