"""The aisle classifier's network: in torch while it learns, as ONNX when it is done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy.typing as npt

LAYERS = ((3, 16, 2), (16, 24, 2), (24, 32, 2), (32, 48, 2), (48, 64, 1))
"""Channels in, channels out, stride of each 3x3 convolution."""
_OPSET, _IR = 13, 8
"""Old enough for every OpenCV that a device may have."""


class AisleNetwork(nn.Module):
    """Pictures float32 (B, 3, H, W), BGR 0..255, to scores (B, classes); 0.2 MB as float32."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
            for inputs, outputs, stride in LAYERS
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(outputs) for _, outputs, _ in LAYERS)
        self.head = nn.Linear(LAYERS[-1][1], classes)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return scores before the softmax."""
        x = pictures / 255
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x)).relu()
        scores: Tensor = self.head(x.mean((2, 3)))
        return scores


def to_onnx(network: AisleNetwork, height: int, width: int) -> bytes:
    """Return the network as ONNX, batch norm and scale folded into the weights.

    Input `frame` float32 (1, 3, height, width), BGR 0..255; output `shares` (1, classes), sum 1.
    """
    convolutions, constants = _convolutions(network)
    constants.append(numpy_helper.from_array(_numpy(network.head.weight), "head"))
    constants.append(numpy_helper.from_array(_numpy(network.head.bias), "head_bias"))
    head = [
        helper.make_node("GlobalAveragePool", [convolutions[-1].output[0]], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"], axis=1),
        helper.make_node("Gemm", ["flat", "head", "head_bias"], ["scores"], transB=1),
        helper.make_node("Softmax", ["scores"], ["shares"], axis=1),
    ]
    frame = helper.make_tensor_value_info("frame", TensorProto.FLOAT, [1, 3, height, width])
    classes = network.head.out_features
    shares = helper.make_tensor_value_info("shares", TensorProto.FLOAT, [1, classes])
    model = helper.make_model(
        helper.make_graph([*convolutions, *head], "aisle-classifier", [frame], [shares], constants),
        opset_imports=[helper.make_opsetid("", _OPSET)],
        ir_version=_IR,
    )
    onnx.checker.check_model(model, full_check=True)
    raw: bytes = model.SerializeToString()
    return raw


def _convolutions(network: AisleNetwork) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return each convolution and its rectifier, and their weights and biases."""
    nodes, constants, last = [], [], "frame"
    for number, (_, _, stride) in enumerate(LAYERS):
        weight, bias = _folded(network, number)
        names = [f"weight{number}", f"bias{number}"]
        constants += [numpy_helper.from_array(weight, names[0])]
        constants += [numpy_helper.from_array(bias, names[1])]
        made: dict[str, Any] = {"strides": [stride] * 2, "kernel_shape": [3, 3], "pads": [1] * 4}
        nodes.append(helper.make_node("Conv", [last, *names], [f"sum{number}"], **made))
        last = f"out{number}"
        nodes.append(helper.make_node("Relu", [f"sum{number}"], [last]))
    return nodes, constants


def _folded(
    network: AisleNetwork, number: int
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    norm: Any = network.norms[number]
    weight = _numpy(network.convolutions[number].weight)
    gain = _numpy(norm.weight) / np.sqrt(_numpy(norm.running_var) + norm.eps)
    bias = _numpy(norm.bias) - _numpy(norm.running_mean) * gain
    scaled = weight * gain[:, None, None, None] / (255 if number == 0 else 1)
    return scaled.astype(np.float32), bias.astype(np.float32)


def _numpy(tensor: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401 - a module's attribute
    array: npt.NDArray[np.float32] = tensor.detach().numpy()
    return array
