"""Run an exporter's graph as it is, before anything is known of its shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from engines.errors import ModelError
from engines.graph import prune, shape_of
from engines.reading.image_input import channels_last

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt


def size_of(image: onnx.ValueInfoProto) -> tuple[int, int] | None:
    """Return the (width, height) of an image input; None where one is open."""
    shape = shape_of(image)
    height, width = shape[1:3] if channels_last(shape) else shape[2:]
    if isinstance(height, int) and isinstance(width, int) and min(height, width) > 0:
        return width, height
    return None


def fix_size(image: onnx.ValueInfoProto, size_wh: tuple[int, int]) -> None:
    """Write a size into an image input."""
    sides = (1, 2) if channels_last(shape_of(image)) else (2, 3)
    for side, length in zip(sides, size_wh[::-1], strict=True):
        image.type.tensor_type.shape.dim[side].dim_value = length


def noise(image: onnx.ValueInfoProto, size_wh: tuple[int, int]) -> npt.NDArray[np.integer]:
    """Return noise in 0..255 as an image input of that size takes it: one frame."""
    width, height = size_wh
    shape = (1, height, width, 3) if channels_last(shape_of(image)) else (1, 3, height, width)
    return np.random.default_rng(0).integers(0, 256, shape)


def ran(
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    frame: npt.NDArray[np.number],
    names: Sequence[str],
) -> list[npt.NDArray[Any]]:
    """Return what tensors of the graph hold on a frame; `ModelError` where it does not run."""
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    for name in names:
        probe.graph.output.append(helper.make_empty_tensor_value_info(name))
    prune(probe.graph)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Such a graph has thousands of nodes, and is run once.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    kind = np.uint8 if image.type.tensor_type.elem_type == TensorProto.UINT8 else np.float32
    try:
        session = onnxruntime.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found: list[npt.NDArray[Any]] = session.run(None, {image.name: frame.astype(kind)})
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise ModelError(
            f"TensorFlow model: ONNX Runtime cannot run it on a frame {frame.shape}: "
            f"{str(error).splitlines()[0]}",
            "convert it again with a newer tf2onnx; the graph must run in ONNX Runtime",
        ) from error
    return found


def shapes(
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    frame: npt.NDArray[np.number],
    names: Sequence[str],
) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors of the graph on a frame."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    asked = [f"{name}/shape_of" for name in names]
    probe.graph.node.extend(
        helper.make_node("Shape", [name], [shape]) for name, shape in zip(names, asked, strict=True)
    )
    found = ran(probe, image, frame, asked)
    return {name: tuple(map(int, one)) for name, one in zip(names, found, strict=True)}
