"""Write a graph with Q/DQ pairs: the pieces that both encodings are made of.

Our own and not onnxruntime.quantization: that cannot leave a tail out by structure, share a scale
over the tensors that values only move between, or keep the pixels integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from .scales import unsigned

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .scales import Scale, Weights


PRODUCTS, PRODUCTS_FIT = "products", "any two fit 16 bits"
"""What a graph says of its integer weights, see products.py; the run time looks for it."""
TO_PLANES = [0, 3, 1, 2]
"""Channels last (N, H, W, C) to channels first; `TO_PIXELS` is the way back."""
TO_PIXELS = [0, 2, 3, 1]


class Writer:
    """The nodes and constants of a graph to be; `scales` says how each quantised tensor is."""

    def __init__(self, scales: Mapping[str, Scale]) -> None:
        self.scales = scales
        self.nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self._restored: set[str] = set()
        self._fences: dict[str, str] = {}

    def emit(self, node: onnx.NodeProto, *, fenced: bool = False) -> None:
        """Write a node, and a Q/DQ pair on each of its outputs that has a scale.

        What is `fenced` is read through a LeakyRelu of slope 1: no optimiser takes node and Q/DQ
        for one, and behind a convolution it costs nothing, being part of ONNX Runtime's kernel.
        """
        self.nodes.append(node)
        for name in node.output:
            if fenced:
                self._fences[name] = f"{name}/fenced"
                self._node("LeakyRelu", [name], self._fences[name], alpha=1.0)
            if name in self.scales:
                self.dequantise(name, self.quantise(name, f"{name}/q"))

    def quantise(self, name: str, integers: str, scale: Scale | None = None) -> str:
        """Write the integers of a tensor, to be had as `integers`; return that.

        At `scale`, or by default that which the tensor has.
        """
        parameters = self._parameters(scale or self.scales[name])
        return self._node("QuantizeLinear", [self._fences.get(name, name), *parameters], integers)

    def dequantise(self, name: str, integers: str) -> None:
        """Write tensor `name` as what its integers stand for."""
        parameters = self._parameters(self.scales[name])
        self._node("DequantizeLinear", [integers, *parameters], f"{name}/dq")

    def untouched(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a copy of a node."""
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        return copy

    def rewired(self, node: onnx.NodeProto) -> onnx.NodeProto:
        """Return a copy of a node that reads what quantisation leaves of its inputs."""
        copy = self.untouched(node)
        for index, name in enumerate(node.input):
            if name in self.scales:
                copy.input[index] = f"{name}/dq"
            elif name in self._fences:
                copy.input[index] = self._fences[name]
        return copy

    def transposed(self, name: str, output: str, perm: list[int]) -> str:
        """Write a tensor with its axes in another order; return `output`."""
        return self._node("Transpose", [name], output, perm=perm)

    def reshaped(self, name: str, output: str, shape: list[int]) -> str:
        """Write a tensor in another shape, 0 for a side that stays; return `output`."""
        stored = self.constant(f"{output}/shape", np.array(shape, np.int64))
        return self._node("Reshape", [name, stored], output)

    def cast(self, name: str, output: str) -> str:
        """Write integers as float32 numbers; return `output`."""
        return self._node("Cast", [name], output, to=onnx.TensorProto.FLOAT)

    def subtracted(self, name: str, output: str, value: float) -> str:
        """Write a float32 tensor less a number; return `output`."""
        stored = self.constant(f"{output}/value", np.array(value, np.float32))
        return self._node("Sub", [name, stored], output)

    def gathered(self, name: str, output: str, places: npt.NDArray[np.int64], axis: int) -> str:
        """Write what a tensor has at these places of an axis; return `output`."""
        stored = self.constant(f"{output}/places", places)
        return self._node("Gather", [name, stored], output, axis=axis)

    def padded(self, name: str, output: str, value: int, told: Sequence[str]) -> str:
        """Write a uint8 tensor with a border of `value`; return `output`.

        `told` are the inputs of a Pad whose sides it shall have.
        """
        border = self.constant(f"{output}/border", np.array(value, np.uint8))
        return self._node("Pad", [name, told[1], border, *told[3:]], output)

    def constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Store a constant as it is; return its name."""
        self._constants[name] = numpy_helper.from_array(values, name)
        return name

    def quantised_constant(self, name: str, values: npt.NDArray[Any]) -> str:
        """Store a constant in uint8; return the name of what that stands for."""
        if name not in self._restored:
            self._restored.add(name)
            real = values.astype(np.float64)
            scale = unsigned(float(real.min()), float(real.max()))
            integers = self.constant(f"{name}/q", scale.quantise(real))
            self._node("DequantizeLinear", [integers, *self._parameters(scale)], f"{name}/dq")
        return f"{name}/dq"

    def per_channel(
        self, name: str, integers: npt.NDArray[Any], steps: npt.NDArray[np.float32]
    ) -> str:
        """Store integers (C, ...), worth `steps` (C,) each; return the name of the product."""
        stored = self.constant(f"{name}/q", integers)
        scale = self.constant(f"{name}/scale", steps)
        zero = self.constant(f"{name}/zero_point", np.zeros(len(steps), integers.dtype))
        self._node("DequantizeLinear", [stored, scale, zero], f"{name}/dq", axis=0)
        return f"{name}/dq"

    def weights(self, output: str, quantised: Weights) -> str:
        """Store the weights of the convolution that makes `output`."""
        return self.per_channel(f"{output}/weight", quantised.integers, quantised.scales)

    def finish(self, model: onnx.ModelProto) -> onnx.ModelProto:
        """Return `model` with these nodes for its own, and only what of them is read."""
        written = onnx.ModelProto()
        written.CopyFrom(model)
        graph = written.graph
        read = {name for node in self.nodes for name in node.input}
        nodes = [
            node
            for node in self.nodes
            if node.op_type != "DequantizeLinear" or node.output[0] in read
        ]
        read = {name for node in nodes for name in node.input}
        kept = [tensor for tensor in model.graph.initializer if tensor.name in read]
        for field in (graph.node, graph.value_info, graph.initializer):
            del field[:]
        graph.node.extend(nodes)
        graph.initializer.extend([*kept, *self._constants.values()])
        written.metadata_props.add(key=PRODUCTS, value=PRODUCTS_FIT)
        return written

    def _parameters(self, scale: Scale) -> tuple[str, str]:
        kind = np.dtype(np.int8 if scale.signed else np.uint8)
        return (
            self.constant(f"scale/{scale.scale!r}", np.array(scale.scale, np.float32)),
            self.constant(
                f"zero_point/{kind}/{scale.zero_point}", np.array(scale.zero_point, kind)
            ),
        )

    def _node(
        self, op: str, inputs: list[str], output: str, **attributes: float | list[int]
    ) -> str:
        node = helper.make_node(op, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())
        self.nodes.append(node)
        return output
