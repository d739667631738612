"""A trained model's file in, a plain float32 ONNX network of static shape out."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from engines import embedded_nms, opset, tensorflow
from engines.assignment import fold_assignments
from engines.batch import with_free_batch
from engines.errors import AlreadyQuantised, ModelError
from engines.focus import fold_focus
from engines.graph import Shape, shape_of
from engines.image_input import find_image, fix_companions, to_planes
from engines.normalisation import spell_out
from engines.precision import to_float32
from engines.simplify import raised, simplified, state_output_shapes

if TYPE_CHECKING:
    from pathlib import Path

_IR_VERSION = 8

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


@dataclass(frozen=True, slots=True)
class Network:
    """A float32 network in plain ops: constants folded, every shape fixed but the batch.

    `inputs` and `outputs` are name to shape, in order; the image is the input `image`, float32
    (B, 3, H, W). `batched` says whether the batch is symbolic, else it is 1.
    """

    source: Source
    model: onnx.ModelProto
    image: str
    size_wh: tuple[int, int]
    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    batched: bool


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
    _load_weights_beside(path, model)
    if model.functions:
        model = inliner.inline_local_functions(model)
    kinds = to_float32(model)
    changed = (f"weights in {', '.join(kinds)} became float32",) if kinds else ()
    integers = tuple(sorted({node.op_type for node in model.graph.node} & _QUANTISED))
    if integers and not quantised:
        raise AlreadyQuantised(
            f"model {path}: expected a float model, it is already quantised "
            f"({', '.join(integers)})",
            "export the trained float32 model again, without quantisation, and build from that",
        )
    return Source(path, model, hashlib.sha256(data).hexdigest(), changed, quantised=integers)


def prepare(source: Source, size_wh: tuple[int, int] | None) -> Network:
    """Fix the shapes, bring the opset to 17, fold constants and Focus stems, free the batch.

    `size_wh` is the network's input size where the model leaves it open.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    _drop_weights_from_inputs(model)
    image = find_image(source, model)
    if tensorflow.is_tensorflow(value.name for value in model.graph.output):
        tensorflow.cut(model, image, size_wh)
    to_planes(model, image)
    batch, size = _fix_input(source, image, size_wh)
    _refuse_foreign(source)
    fix_companions(model, size)
    model = opset.lowered(simplified(source.path, raised(source.path, model)))
    spell_out(model)
    fold_focus(model, image.name)
    fold_assignments(model)
    state_output_shapes(model)
    freed = with_free_batch(model, batch)
    if freed is None and batch > 1:
        raise ModelError(
            f"model {source.path}: its batch is fixed to {batch}", "export it with batch 1 or open"
        )
    kept = freed or model
    return Network(
        source,
        kept,
        image.name,
        size,
        inputs={value.name: shape_of(value) for value in kept.graph.input},
        outputs={value.name: shape_of(value) for value in kept.graph.output},
        batched=freed is not None,
    )


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


def _load_weights_beside(path: Path, model: onnx.ModelProto) -> None:
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"model {path}: its weights are in another file that cannot be read: "
            f"{str(error).splitlines()[0]}",
            "copy the .onnx.data file beside the .onnx file",
        ) from error


def _refuse_foreign(source: Source) -> None:
    foreign = {n.domain for n in source.model.graph.node if n.domain not in ("", "ai.onnx")}
    if foreign:
        kinds = sorted({n.op_type for n in source.model.graph.node if n.domain in foreign})
        raise ModelError(
            f"model {source.path}: expected standard ONNX operators, found {', '.join(kinds)} of "
            f"{', '.join(sorted(foreign))}",
            embedded_nms.REMEDY if set(kinds) & embedded_nms.NMS else "export it without plugins",
        )


def _drop_weights_from_inputs(model: onnx.ModelProto) -> None:
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.ir_version = _IR_VERSION


def _is_open(dimension: int | str) -> bool:
    return not isinstance(dimension, int) or dimension < 1


def _fix_input(
    source: Source, image: onnx.ValueInfoProto, size_wh: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """Write the shape into the image input; return (batch, (width, height))."""
    batch, _, height, width = shape_of(image)
    size = _size(source, (width, height), size_wh)
    fixed_batch = batch if isinstance(batch, int) and batch > 0 else 1
    for dimension, value in zip(
        image.type.tensor_type.shape.dim, (fixed_batch, 3, size[1], size[0]), strict=True
    ):
        dimension.dim_value = value
    return fixed_batch, size


def _size(
    source: Source, found_wh: tuple[int | str, int | str], asked_wh: tuple[int, int] | None
) -> tuple[int, int]:
    width, height = found_wh
    if isinstance(width, int) and isinstance(height, int) and min(width, height) > 0:
        if asked_wh not in (None, (width, height)):
            raise ModelError(
                f"model {source.path}: --size asks for {asked_wh}, the export is fixed to "
                f"{width}x{height}",
                "leave --size out, or export the model again in that size",
            )
        return width, height
    stated = source.literal("imgsz")
    if asked_wh is None and isinstance(stated, list) and len(stated) == 2:  # noqa: PLR2004
        return int(stated[1]), int(stated[0])
    if asked_wh is None:
        raise ModelError(
            f"model {source.path}: its input size is open ({width} x {height})",
            "give --size N or --size WxH, as it was trained",
        )
    return asked_wh
