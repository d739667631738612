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
MAX_BATCH = 8
"""Largest batch that a graph with a symbolic one is offered for."""
_RESIZE_SIZES = 3
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
    shapes = {v.name: shape_of(v) for v in (*inferred.value_info, *inferred.input)}
    known = constants(model.graph)
    for number, node in enumerate(model.graph.node):
        batched = bool(node.input) and shapes.get(node.input[0], ())[:1] == (batch,)
        if node.op_type == "Reshape" and not attribute(node, "allowzero", 0):
            leading = 0 if batched else -1
            _free_leading(model.graph, node, known.get(node.input[1]), (batch, leading), number)
        elif node.op_type == "Resize" and len(node.input) > _RESIZE_SIZES and batched:
            _scale_instead(model, node, known.get(node.input[_RESIZE_SIZES]), shapes, number)


def _free_leading(
    graph: onnx.GraphProto,
    node: onnx.NodeProto,
    target: onnx.TensorProto | None,
    batch_to: tuple[int, int],
    number: int,
) -> None:
    """Turn a Reshape to (batch, ...) into (0, ...), which copies, or (-1, ...), which computes."""
    if target is None:
        return
    batch, leading = batch_to
    shape = numpy_helper.to_array(target).copy()
    if len(shape) and shape[0] == batch and not (leading < 0 and -1 in shape):
        shape[0] = leading
        node.input[1] = _constant(graph, f"edge/shape_{number}", shape)


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
