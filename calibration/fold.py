"""Bring a float graph to the form that is quantised: constants folded, no Add for a bias."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import onnx
import onnxruntime
from onnx import version_converter

from .errors import CalibrationError

PER_CHANNEL_OPSET = 13
"""First opset whose DequantizeLinear takes one scale per channel."""
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger", "QLinearConv")


def fold(contract: onnx.ModelProto) -> onnx.ModelProto:
    """Return an equal graph with batch norms and bias Adds inside their convolutions.

    ONNX Runtime's basic optimisations do it: they stay within the ops of the ONNX standard.
    Raises `CalibrationError` for a graph that is quantised already or has no convolution.
    """
    _refuse(contract)
    model = onnx.ModelProto()
    model.CopyFrom(contract)
    constants = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    if next(o.version for o in model.opset_import if not o.domain) < PER_CHANNEL_OPSET:
        model = version_converter.convert_version(model, PER_CHANNEL_OPSET)
    folded = _optimised(model)
    used = {node.domain for node in folded.graph.node}
    opsets = [opset for opset in folded.opset_import if opset.domain in used or not opset.domain]
    del folded.opset_import[:]
    folded.opset_import.extend(opsets)
    return folded


def _refuse(contract: onnx.ModelProto) -> None:
    ops = Counter(node.op_type for node in contract.graph.node)
    found = [f"{ops[op]} {op}" for op in _QUANTISED if ops[op]]
    if found:
        raise CalibrationError(
            f"graph {contract.graph.name or '(unnamed)'}: expected a float graph, found "
            f"{', '.join(found)}: it is quantised already",
            "export the trained model again without quantisation, and build from that",
        )
    if not ops["Conv"]:
        raise CalibrationError(
            f"graph {contract.graph.name or '(unnamed)'}: found no Conv, nothing to quantise",
            "build from a convolutional detector",
        )


def _optimised(model: onnx.ModelProto) -> onnx.ModelProto:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as directory:
        options.optimized_model_filepath = str(Path(directory) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(
                model.SerializeToString(),
                options,
                providers=["CPUExecutionProvider"],
                # It would carry transposes of the input deep into the network.
                disabled_optimizers=["TransposeOptimizer"],
            )
        except Exception as error:  # onnxruntime's exceptions share no base but this
            raise CalibrationError(
                f"onnxruntime cannot load the float graph: {str(error).strip().splitlines()[0]}",
                "check the model with onnx.checker, or export it again",
            ) from error
        return onnx.load(options.optimized_model_filepath)
