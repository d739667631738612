"""The backbones: ResNet (arXiv 1512.03385) and MobileNetV3-large (arXiv 1905.02244)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.faster_rcnn.layers import Layers

_BODY = "backbone.body"
_STAGES = 4
_MOBILE_STRIDES = (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1)
"""Of MobileNetV3-large's 15 blocks, as in the paper's table 1."""
_FIRST_HARD = 6
"""From this block on its activation is h-swish."""
_MOBILE_FEATURES = (13, 16)


def features(layers: Layers, image: str) -> list[str] | None:
    """Append the backbone; return its feature maps, finest first, or None where it is unknown."""
    if layers.has(f"{_BODY}.layer1.0.conv1"):
        return _resnet(layers, image)
    if layers.has(f"{_BODY}.16.0"):
        return _mobilenet(layers, image)
    return None


def _resnet(layers: Layers, image: str) -> list[str]:
    stem = layers.relu(layers.conv(image, f"{_BODY}.conv1", f"{_BODY}.bn1", stride=2))
    tensor = layers.graph.op(
        "MaxPool", stem, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]
    )
    found = []
    for stage in range(1, _STAGES + 1):
        for block in range(layers.count(f"{_BODY}.layer{stage}.{{}}.conv1")):
            stride = 2 if stage > 1 and block == 0 else 1
            tensor = _residual(layers, tensor, f"{_BODY}.layer{stage}.{block}", stride)
        found.append(tensor)
    return found


def _residual(layers: Layers, tensor: str, name: str, stride: int) -> str:
    """Append a bottleneck, whose middle one of three convolutions strides, or a basic block."""
    deep = layers.has(f"{name}.conv3")
    strides = (1, stride, 1) if deep else (stride, 1)
    inner = tensor
    for number, step in enumerate(strides, 1):
        inner = layers.conv(inner, f"{name}.conv{number}", f"{name}.bn{number}", stride=step)
        if number < len(strides):
            inner = layers.relu(inner)
    if layers.has(f"{name}.downsample.0"):
        tensor = layers.conv(tensor, f"{name}.downsample.0", f"{name}.downsample.1", stride=stride)
    return layers.relu(layers.graph.op("Add", inner, tensor))


def _mobilenet(layers: Layers, image: str) -> list[str]:
    tensor = _hard_swish(layers, layers.conv(image, f"{_BODY}.0.0", f"{_BODY}.0.1", stride=2))
    found = []
    for number, stride in enumerate(_MOBILE_STRIDES, 1):
        tensor = _inverted(layers, tensor, f"{_BODY}.{number}.block", (number, stride))
        if number in _MOBILE_FEATURES:
            found.append(tensor)
    last = len(_MOBILE_STRIDES) + 1
    tensor = layers.conv(tensor, f"{_BODY}.{last}.0", f"{_BODY}.{last}.1")
    return [*found, _hard_swish(layers, tensor)]


def _inverted(layers: Layers, tensor: str, name: str, at: tuple[int, int]) -> str:
    """Append an inverted residual: widen, convolve depthwise, squeeze and excite, narrow."""
    number, stride = at
    act = _hard_swish if number > _FIRST_HARD else lambda to, inner: to.relu(inner)
    parts = [part for part in range(4) if layers.has(f"{name}.{part}.0")]
    inner = tensor
    for part in parts[:-1]:
        depthwise = layers.weights[f"{name}.{part}.0.weight"].shape[1] == 1
        step = stride if depthwise else 1
        inner = layers.conv(inner, f"{name}.{part}.0", f"{name}.{part}.1", stride=step)
        inner = act(layers, inner)
    squeeze = next((part for part in range(4) if layers.has(f"{name}.{part}.fc1")), None)
    if squeeze is not None:
        pooled = layers.graph.op("GlobalAveragePool", inner)
        small = layers.relu(layers.conv(pooled, f"{name}.{squeeze}.fc1"))
        gate = _hard_sigmoid(layers, layers.conv(small, f"{name}.{squeeze}.fc2"))
        inner = layers.graph.op("Mul", inner, gate)
    narrow = layers.conv(inner, f"{name}.{parts[-1]}.0", f"{name}.{parts[-1]}.1")
    wide_in = layers.weights[f"{name}.{parts[0]}.0.weight"]
    channels = len(wide_in) if wide_in.shape[1] == 1 else wide_in.shape[1]
    same = stride == 1 and channels == len(layers.weights[f"{name}.{parts[-1]}.0.weight"])
    return layers.graph.op("Add", narrow, tensor) if same else narrow


def _hard_sigmoid(layers: Layers, tensor: str) -> str:
    return layers.graph.op("HardSigmoid", tensor, alpha=1 / 6, beta=0.5)


def _hard_swish(layers: Layers, tensor: str) -> str:
    return layers.graph.op("Mul", tensor, _hard_sigmoid(layers, tensor))
