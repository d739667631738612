"""A trained model in, a plain float32 ONNX network of static shape out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import onnx

from engines.errors import ModelError
from engines.graph import Shape, prune, shape_of
from engines.reading import embedded_nms, opset, tensorflow
from engines.reading.assignment import fold_assignments
from engines.reading.batch import with_free_batch
from engines.reading.focus import fold_focus
from engines.reading.image_input import drop_unread, find_image, fix_companions, to_planes
from engines.reading.normalisation import spell_out
from engines.reading.simplify import raised, simplified, state_output_shapes

if TYPE_CHECKING:
    from engines.reading.model_file import Source
    from engines.reading.resizer import Resizer

_IR_VERSION = 8
_MAPS = 4


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
    bars: tuple[float, float, float] | None = None
    """Colour below or beside a picture that a resizer in the export did not fill, 0..255."""

    def without_maps(self) -> Network | None:
        """Return it without the outputs that are maps, rank 4 or more; None if none or all are."""
        maps = [name for name, shape in self.outputs.items() if len(shape) >= _MAPS]
        if not 0 < len(maps) < len(self.outputs):
            return None
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        for value in list(model.graph.output):
            if value.name in maps:
                model.graph.output.remove(value)
        prune(model.graph)
        left = f"its outputs {', '.join(map(repr, maps))} were left out"
        return replace(
            self,
            source=replace(self.source, changed=(*self.source.changed, left)),
            model=model,
            outputs={n: shape for n, shape in self.outputs.items() if n not in maps},
        )


def prepare(source: Source, size_wh: tuple[int, int] | None) -> Network:
    """Fix the shapes, bring the opset to 17, fold constants and Focus stems, free the batch.

    `size_wh` is the network's input size where the model leaves it open.
    """
    model = onnx.ModelProto()
    model.CopyFrom(source.model)
    _drop_weights_from_inputs(model)
    image = find_image(source, model)
    drop_unread(model, image.name)
    resized: Resizer | None = None
    if tensorflow.is_tensorflow(value.name for value in model.graph.output):
        resized = tensorflow.cut(source.path, model, image, size_wh)
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
    if resized is not None:
        source = replace(source, changed=(*source.changed, str(resized)))
    return Network(
        source,
        kept,
        image.name,
        size,
        inputs={value.name: shape_of(value) for value in kept.graph.input},
        outputs={value.name: shape_of(value) for value in kept.graph.output},
        batched=freed is not None,
        bars=resized.bars if resized else None,
    )


def _refuse_foreign(source: Source) -> None:
    # Plugins of TensorRT are often written as if they were standard operators.
    foreign = [
        n
        for n in source.model.graph.node
        if n.domain not in ("", "ai.onnx") or n.op_type.endswith("_TRT")
    ]
    if foreign:
        kinds = sorted({n.op_type for n in foreign})
        domains = sorted({n.domain or "TensorRT" for n in foreign})
        raise ModelError(
            f"model {source.path}: expected standard ONNX operators, found {', '.join(kinds)} of "
            f"{', '.join(domains)}",
            embedded_nms.remedy(kinds) or "export it without plugins",
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
