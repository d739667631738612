"""The feature pyramid (arXiv 1612.03144): every map with what the coarser ones know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from engines.faster_rcnn.layers import Layers

_FPN = "backbone.fpn"


def pyramid(layers: Layers, features: list[str], sizes: list[tuple[int, int]]) -> list[str]:
    """Append the pyramid over maps of `sizes` (height, width); return its maps, finest first.

    One more map, the coarsest pooled to half its size, comes last.
    """
    channels = len(layers.weights[_named(layers, "layer_blocks", 0)[0] + ".weight"])
    above: str | None = None
    found = []
    for level in reversed(range(len(features))):
        name, norm = _named(layers, "inner_blocks", level)
        inner = layers.conv(features[level], name, norm)
        if above is not None:
            target = layers.graph.constant([1, channels, *sizes[level]], np.int64)
            larger = layers.graph.op(
                "Resize",
                above,
                "",
                "",
                target,
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
            inner = layers.graph.op("Add", inner, larger)
        above = inner
        name, norm = _named(layers, "layer_blocks", level)
        found.append(layers.conv(inner, name, norm))
    found.reverse()
    pooled = layers.graph.op("MaxPool", found[-1], kernel_shape=[1, 1], strides=[2, 2])
    return [*found, pooled]


def _named(layers: Layers, kind: str, level: int) -> tuple[str, str | None]:
    """Return a convolution's name and its norm's; torchvision before 0.13 had no norms."""
    name = f"{_FPN}.{kind}.{level}"
    return (f"{name}.0", f"{name}.1") if layers.has(f"{name}.0") else (name, None)
