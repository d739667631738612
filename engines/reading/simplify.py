"""Bring a graph to plain ops: one opset, constants folded, every output's shape stated."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from engines import nms
from engines.errors import ModelError
from engines.graph import opset_of
from engines.reading import opset

if TYPE_CHECKING:
    from collections.abc import Iterator


def raised(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Bring an older opset to 17, where onnx's converter can."""
    try:
        return opset.raised(model)
    except Exception as error:  # it raises RuntimeError and unrelated types
        if opset_of(model) >= opset.OLDEST:
            return model
        raise ModelError(
            f"model {path}: opset {opset_of(model)} cannot be lifted to {opset.OPSET}: "
            f"{str(error).splitlines()[0]}",
            f"export the model again with opset {opset.OPSET}",
        ) from error


def simplified(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold constants and batch normalisation by ONNX Runtime's basic level: standard ops."""
    with tempfile.TemporaryDirectory(prefix="aisle-edge-") as folder:
        written = Path(folder) / "simplified.onnx"
        try:
            _optimise(model, written)
        except Exception as error:  # onnxruntime's exceptions share no base but this
            raise ModelError(
                f"model {path}: ONNX Runtime cannot load it: {str(error).splitlines()[0]}",
                "export the model again; the graph must load in ONNX Runtime",
            ) from error
        simple = onnx.load_model(written)
    _tidy(simple)
    return simple


def _optimise(model: onnx.ModelProto, written: Path) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(written)
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def _tidy(model: onnx.ModelProto) -> None:
    """Drop what ONNX Runtime adds beside the graph, and order what it orders by chance."""
    standard = [o for o in model.opset_import if o.domain in ("", "ai.onnx")]
    del model.opset_import[:]
    model.opset_import.extend(standard)
    weights = sorted(model.graph.initializer, key=lambda tensor: tensor.name)
    del model.graph.initializer[:]
    model.graph.initializer.extend(weights)
    del model.metadata_props[:]
    del model.graph.value_info[:]
    for node in model.graph.node:
        if not node.doc_string.startswith(nms.SAID):
            node.doc_string = ""
    for value in _values(model):
        value.doc_string = ""


def state_output_shapes(model: onnx.ModelProto) -> None:
    """Write what can be inferred of them: not every exporter states them, nor does a cut."""
    unstated = [o for o in model.graph.output if not o.type.tensor_type.shape.dim]
    if not unstated:
        return
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    known = {value.name: value for value in inferred.output}
    for value in unstated:
        value.CopyFrom(known[value.name])


def _values(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    yield from model.graph.input
    yield from model.graph.output
