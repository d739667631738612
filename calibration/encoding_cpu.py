"""The encoding that ONNX Runtime's CPU kernels fuse: a Q/DQ pair behind every op of the body.

Written here and not by onnxruntime.quantization: it takes a scale per tensor and nothing else, and
that library cannot leave a tail out by structure, share scales over moves or keep the pixels
integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from .groups import INTEGER_OPS
from .scales import Scale, unsigned, weights

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .prelude import Prelude
    from .topology import Topology


class Encoder:
    """Writes one graph; `scales` says for each tensor that is quantised how."""

    def __init__(
        self,
        topology: Topology,
        scales: Mapping[str, Scale],
        biases: Mapping[str, npt.NDArray[np.float32]],
    ) -> None:
        self._topology = topology
        self._scales = scales
        self._biases = biases
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def pixels(self, prelude: Prelude) -> None:
        """Write the prelude in integers: the pixels already are the quantised tensor."""
        name = self._topology.inputs[0]
        for move in prelude.moves:
            moved = onnx.NodeProto()
            moved.CopyFrom(move)
            moved.input[0] = name
            name = moved.output[0] = f"{move.output[0]}/q"
            self.nodes.append(moved)
        self._dequantise(prelude.tensor, name)

    def integer(self, node: onnx.NodeProto) -> None:
        """Write a node whose constants are quantised too."""
        copy = self._copy(node)
        if node.op_type == "Conv":
            self._weigh(copy)
        elif node.op_type in ("Add", "Mul", "MatMul"):
            for index, name in enumerate(node.input):
                values = self._topology.constant(name)
                if values is not None:
                    copy.input[index] = self._constant(name, values)
        self._emit(copy)

    def float32(self, node: onnx.NodeProto) -> None:
        """Write a node as it is."""
        copy = self._copy(node)
        if node.op_type == "Conv" and node.output[0] in self._biases:
            name = f"{node.output[0]}/bias"
            self._store(name, self._biases[node.output[0]])
            del copy.input[2:]
            copy.input.append(name)
        self._emit(copy)

    def _copy(self, node: onnx.NodeProto) -> onnx.NodeProto:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        for index, name in enumerate(node.input):
            if name in self._scales:
                copy.input[index] = f"{name}/dq"
        return copy

    def _emit(self, node: onnx.NodeProto) -> None:
        self.nodes.append(node)
        for name in node.output:
            if name in self._scales:
                integers = f"{name}/q"
                self.nodes.append(
                    helper.make_node(
                        "QuantizeLinear",
                        [name, *self._parameters(self._scales[name])],
                        [integers],
                        name=integers,
                    )
                )
                self._dequantise(name, integers)

    def _dequantise(self, name: str, integers: str) -> None:
        self.nodes.append(
            helper.make_node(
                "DequantizeLinear",
                [integers, *self._parameters(self._scales[name])],
                [f"{name}/dq"],
                name=f"{name}/dq",
            )
        )

    def _parameters(self, scale: Scale) -> tuple[str, str]:
        kind = np.int8 if scale.signed else np.uint8
        step = f"scale/{scale.scale!r}"
        zero = f"zero_point/{np.dtype(kind)}/{scale.zero_point}"
        self._store(step, np.array(scale.scale, np.float32))
        self._store(zero, np.array(scale.zero_point, kind))
        return step, zero

    def _constant(self, name: str, values: npt.NDArray[np.generic]) -> str:
        real = values.astype(np.float64)
        scale = unsigned(float(real.min()), float(real.max()))
        self._store(f"{name}/q", scale.quantise(real))
        return self._restored(f"{name}/dq", f"{name}/q", self._parameters(scale))

    def _weigh(self, conv: onnx.NodeProto) -> None:
        output, (kernel, *bias) = conv.output[0], conv.input[1:]
        values = self._topology.constant(kernel)
        assert values is not None
        old = self._topology.constant(bias[0]) if bias else None
        offsets = self._biases.get(
            output, np.zeros(len(values), np.float32) if old is None else old
        )
        step = self._scales[conv.input[0].removesuffix("/dq")].scale
        quantised = weights(values, offsets, step)
        products = quantised.scales.astype(np.float64) * step
        parameters = self._axis_parameters(output, "weight", quantised.scales, np.int8)
        self._store(f"{output}/weight/q", quantised.integers)
        kernel = self._restored(f"{output}/weight/dq", f"{output}/weight/q", parameters, axis=0)
        self._store(f"{output}/bias/q", np.rint(offsets / products).astype(np.int32))
        parameters = self._axis_parameters(output, "bias", products.astype(np.float32), np.int32)
        offset = self._restored(f"{output}/bias/dq", f"{output}/bias/q", parameters, axis=0)
        del conv.input[1:]
        conv.input.extend([kernel, offset])

    def _axis_parameters(
        self, output: str, part: str, scales: npt.NDArray[np.float32], kind: type[np.integer]
    ) -> tuple[str, str]:
        step, zero = f"{output}/{part}/scale", f"{output}/{part}/zero_point"
        self._store(step, scales)
        self._store(zero, np.zeros(len(scales), kind))
        return step, zero

    def _restored(
        self, name: str, integers: str, parameters: tuple[str, str], axis: int | None = None
    ) -> str:
        if not any(node.output[0] == name for node in self.nodes):
            axes = {} if axis is None else {"axis": axis}
            self.nodes.append(
                helper.make_node(
                    "DequantizeLinear", [integers, *parameters], [name], name=name, **axes
                )
            )
        return name

    def _store(self, name: str, values: npt.NDArray[np.generic]) -> None:
        self.constants[name] = numpy_helper.from_array(values, name)


def encode(
    model: onnx.ModelProto,
    topology: Topology,
    prelude: Prelude,
    integer_nodes: Iterable[onnx.NodeProto],
    scales: Mapping[str, Scale],
    biases: Mapping[str, npt.NDArray[np.float32]],
) -> onnx.ModelProto:
    """Return the graph with a Q/DQ pair on every tensor of `scales`.

    `biases` replaces biases of convolutions, by output name.
    """
    integer = {node.output[0] for node in integer_nodes if node.op_type in INTEGER_OPS}
    encoder = Encoder(topology, scales, biases)
    exact = prelude.scale is not None
    skipped = {node.output[0] for node in prelude.nodes} if exact else set()
    if exact:
        encoder.pixels(prelude)
    for node in topology.nodes:
        if node.output[0] in skipped:
            continue
        if node.output[0] in integer:
            encoder.integer(node)
        else:
            encoder.float32(node)
    return _assemble(model, encoder)


def _assemble(model: onnx.ModelProto, encoder: Encoder) -> onnx.ModelProto:
    encoded = onnx.ModelProto()
    encoded.CopyFrom(model)
    graph = encoded.graph
    del graph.node[:]
    graph.node.extend(encoder.nodes)
    del graph.value_info[:]
    read = {name for node in graph.node for name in node.input}
    old = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(old)
    graph.initializer.extend(encoder.constants.values())
    return encoded
