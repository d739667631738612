"""Take off what TensorFlow's exports put in front of a network: a resizer, and normalisation.

Both are in a Loop over the batch's images, or bare. The tensor behind them has one size whatever
the image's. Where an image already of that size comes through as it was but for a factor and an
offset per colour, these take the resizer's place: proven on noise, not read from the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.errors import ModelError
from engines.reading.as_exported import fix_size, noise, ran, shapes, size_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

_PROBES = ((192, 256), (320, 224))
_SAME = 0.01
"""Grey levels that what came through may be off."""
_RANK = 4
_COLOURS = 3
_WHITE = 255


@dataclass(frozen=True, slots=True)
class Resizer:
    """What was taken off: the size it resized to, and the colour of its bars, None without."""

    size_wh: tuple[int, int]
    bars: tuple[float, float, float] | None

    def __str__(self) -> str:
        """Return it in a few words."""
        bars = "" if self.bars is None else f", with bars of the colour {self.bars},"
        return f"its resizer to {self.size_wh[0]}x{self.size_wh[1]}{bars} was taken off"


@dataclass(frozen=True, slots=True)
class _Passed:
    """How an image comes through: its axes moved, then a factor and an offset per colour."""

    perm: tuple[int, ...]
    factor: npt.NDArray[np.float64]
    offset: npt.NDArray[np.float64]


def nested(node: onnx.NodeProto) -> Iterator[onnx.NodeProto]:
    """Yield a node and those in its subgraphs."""
    yield node
    for item in node.attribute:
        if item.HasField("g"):
            for inner in item.g.node:
                yield from nested(inner)


def take_off(
    path: Path,
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    size_wh: tuple[int, int] | None,
) -> Resizer | None:
    """Remove the resizer of a model, and give its image input the resizer's size.

    None where there is none, or where it keeps a size that is not known. Raises `ModelError` where
    an image of the right size does not come through as it was.
    """
    names = _candidates(model)
    if not names:
        return None
    given = size_of(image)
    _open(model, image)
    tensor, target = _resized(model, image, names)
    size = target or given or size_wh
    if tensor is None or size is None:
        return None
    pixels = noise(image, size)
    (found,) = ran(model, image, pixels, [tensor])
    passed = _passed(pixels, found)
    if passed is None:
        height, width = found.shape[1:3] if found.shape[3] == _COLOURS else found.shape[2:]
        raise ModelError(
            f"model {path}: what is in front of the network makes {width}x{height} of a frame of "
            f"{size[0]}x{size[1]}, and not the same picture",
            f"convert it again with --inputs {image.name}[1,{height},{width},3]"
            if given
            else f"give --size {width}x{height}, or as the network was trained",
        )
    bars = _bars(model, image, tensor, size, passed)
    _read_instead(model.graph, tensor, image.name, passed)
    fix_size(image, size)
    return Resizer(size, bars)


def _candidates(model: onnx.ModelProto) -> list[str]:
    names: list[str] = []
    for node in model.graph.node:
        if node.op_type == "Conv":
            break
        if any(inner.op_type in {"Loop", "Resize"} for inner in nested(node)):
            names += [name for name in node.output if name]
    return names


def _open(model: onnx.ModelProto, image: onnx.ValueInfoProto) -> None:
    """Let the image have any size: a resizer takes what it was not exported for, too."""
    for number, dimension in enumerate(image.type.tensor_type.shape.dim):
        if dimension.dim_value != _COLOURS and number:
            dimension.dim_param = f"side{number}"
    del model.graph.value_info[:]


def _resized(
    model: onnx.ModelProto, image: onnx.ValueInfoProto, names: Sequence[str]
) -> tuple[str | None, tuple[int, int] | None]:
    """Return the last tensor that is an image, and its size where that is the same for all."""
    one, other = (shapes(model, image, noise(image, size), names) for size in _PROBES)
    for name in reversed(names):
        if len(one[name]) == _RANK and _COLOURS in {one[name][1], one[name][3]}:
            height, width = one[name][1:3] if one[name][3] == _COLOURS else one[name][2:]
            return name, (width, height) if one[name] == other[name] else None
    return None, None


def _passed(pixels: npt.NDArray[np.integer], found: npt.NDArray[np.number]) -> _Passed | None:
    """Return how `pixels` became what was found; None where they did not."""
    for perm in ((0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 3, 1)):
        moved = pixels.transpose(perm)
        if moved.shape != found.shape:
            continue
        colours = 3 if moved.shape[3] == _COLOURS else 1
        before, after = (
            np.moveaxis(np.asarray(x, np.float64), colours, 0).reshape(_COLOURS, -1)
            for x in (moved, found)
        )
        lines = [np.polyfit(x, y, 1) for x, y in zip(before, after, strict=True)]
        factor, offset = (np.array(x)[:, None] for x in zip(*lines, strict=True))
        if np.abs(before * factor + offset - after).max() < _SAME * np.abs(factor).min():
            shape = [1] * _RANK
            shape[colours] = _COLOURS
            return _Passed(perm, factor.reshape(shape), offset.reshape(shape))
    return None


def _bars(
    model: onnx.ModelProto,
    image: onnx.ValueInfoProto,
    tensor: str,
    size_wh: tuple[int, int],
    passed: _Passed,
) -> tuple[float, float, float] | None:
    """Return the colour of the last row that a white image of twice the width leaves, not white."""
    white = np.full_like(noise(image, (2 * size_wh[0], size_wh[1])), _WHITE)
    (found,) = ran(model, image, white, [tensor])
    pixels = (found - passed.offset) / passed.factor
    axes = (0, 2, 3, 1) if passed.factor.shape[1] == _COLOURS else (0, 1, 2, 3)
    red, green, blue = (float(x) for x in pixels.transpose(axes)[0, -1].mean(0).round(1))
    return None if min(red, green, blue) > _WHITE - 1 else (red, green, blue)


def _read_instead(graph: onnx.GraphProto, tensor: str, image: str, passed: _Passed) -> None:
    """Let what reads `tensor` read the image, moved and normalised as it was."""
    for node in graph.node:
        for position, name in enumerate(node.input):
            if name == tensor:
                node.input[position] = f"{image}/normalised"
    constants = {"factor": passed.factor, "offset": passed.offset}
    for name, value in constants.items():
        held = numpy_helper.from_array(value.astype(np.float32), f"{image}/{name}")
        graph.initializer.append(held)
    steps: tuple[tuple[str, str, list[str], dict[str, Any]], ...] = (
        ("Transpose", "moved", [image], {"perm": passed.perm}),
        ("Cast", "float", [f"{image}/moved"], {"to": TensorProto.FLOAT}),
        ("Mul", "scaled", [f"{image}/float", f"{image}/factor"], {}),
        ("Add", "normalised", [f"{image}/scaled", f"{image}/offset"], {}),
    )
    made = [
        helper.make_node(kind, inputs, [f"{image}/{name}"], **attributes)
        for kind, name, inputs, attributes in steps
    ]
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
