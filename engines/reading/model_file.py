"""A trained model's ONNX file, read: with its weights in float32, whatever they were stored in."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError
from onnx import helper, inliner

from engines.errors import AlreadyQuantised, ModelError
from engines.reading.precision import to_float32

if TYPE_CHECKING:
    from pathlib import Path

_QUANTISED = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger",
    "QLinearConv", "QLinearMatMul",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Source:
    """A trained model as it was read: its graph, and which file that was."""

    path: Path
    model: onnx.ModelProto
    sha256: str
    changed: tuple[str, ...] = ()
    """What had to be changed to take it, for people."""
    anchors: tuple[float, ...] = ()
    """Widths and heights in pixels that were given for raw heads, smallest stride first."""
    quantised: tuple[str, ...] = ()
    """The integer operators that somebody else's quantiser put in."""

    @property
    def metadata(self) -> dict[str, str]:
        """What the exporter wrote beside the graph."""
        return {item.key: item.value for item in self.model.metadata_props}

    def literal(self, key: str) -> Any:  # noqa: ANN401
        """Return a metadata value written as a Python literal; None where there is none."""
        try:
            return ast.literal_eval(self.metadata[key])
        except (KeyError, ValueError, SyntaxError):
            return None


def load_source(path: Path, *, quantised: bool = False) -> Source:
    """Read an ONNX file with its external data; raises `ModelError` for anything else.

    A quantised model raises `AlreadyQuantised`, unless it is to be looked at only.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {path}: {error.strerror}", "give the path of an exported .onnx file"
        ) from error
    model = _parse(path, data)
    for node in model.graph.node:
        node.doc_string = ""  # what an exporter says there, we do not go by
    _load_weights_beside(path, model)
    _state_versions_once(model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    kinds = _in_float32(path, model)
    changed = (f"weights in {', '.join(kinds)} became float32",) if kinds else ()
    integers = tuple(sorted({node.op_type for node in model.graph.node} & _QUANTISED))
    if integers and not quantised:
        raise AlreadyQuantised(
            f"model {path}: expected a float model, it is already quantised "
            f"({', '.join(integers)})",
            "export the trained float32 model again, without quantisation, and build from that",
        )
    return Source(path, model, hashlib.sha256(data).hexdigest(), changed, quantised=integers)


def _parse(path: Path, data: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError(
            f"model {path}: expected an ONNX file, found {len(data)} bytes that are not, or only a "
            "part of one",
            "copy the file again, or export the checkpoint to ONNX first",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(
            f"model {path}: expected an ONNX graph, found no nodes or outputs in {len(data)} bytes",
            "export the checkpoint to ONNX first",
        )
    return model


def _state_versions_once(model: onnx.ModelProto) -> None:
    """Leave one version of each operator set: models that `onnx.compose` joined state both's."""
    versions = {entry.domain: entry.version for entry in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(helper.make_opsetid(*entry) for entry in versions.items())


def _in_float32(path: Path, model: onnx.ModelProto) -> list[str]:
    try:
        return to_float32(model)
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise ModelError(
            f"model {path}: its types or shapes contradict each other: "
            f"{str(error).splitlines()[0]}",
            "export the model again, in float32",
        ) from error


def _load_weights_beside(path: Path, model: onnx.ModelProto) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"model {path}: its weights are in another file that cannot be read: "
            f"{str(error).splitlines()[0]}",
            "copy the .onnx.data file beside the .onnx file",
        ) from error
