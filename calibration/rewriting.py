"""A copy of a graph whose convolutions are given other weights, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    import numpy.typing as npt


class Rewriting:
    """`model` is the copy; convolutions are named by their output."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = onnx.ModelProto()
        self.model.CopyFrom(model)
        self.nodes = {name: node for node in self.model.graph.node for name in node.output}
        self._constants = {tensor.name: tensor for tensor in self.model.graph.initializer}

    def weights(self, conv: str) -> npt.NDArray[np.float32]:
        """Return the present weights (C, ...)."""
        return self._read(self.nodes[conv].input[1])

    def bias(self, conv: str) -> npt.NDArray[np.float32]:
        """Return the present bias (C,); zeros where there is none."""
        node = self.nodes[conv]
        if len(node.input) > 2 and node.input[2]:  # noqa: PLR2004
            return self._read(node.input[2])
        return np.zeros(len(self.weights(conv)), np.float32)

    def weigh(
        self, conv: str, weights: npt.NDArray[np.float32], bias: npt.NDArray[np.float32]
    ) -> None:
        """Give a convolution other weights and another bias; others keep what they shared."""
        node = self.nodes[conv]
        del node.input[1:]
        node.input.append(self.constant(f"{conv}/rewritten/weight", weights))
        node.input.append(self.constant(f"{conv}/rewritten/bias", bias))

    def constant(self, name: str, values: npt.NDArray[np.float32]) -> str:
        """Store a constant, over an earlier one of this name; return the name."""
        made = numpy_helper.from_array(np.ascontiguousarray(values, np.float32), name)
        if name in self._constants:
            self._constants[name].CopyFrom(made)
        else:
            self.model.graph.initializer.append(made)
            self._constants[name] = self.model.graph.initializer[-1]
        return name

    def drop(self, node: onnx.NodeProto, source: str) -> None:
        """Take out a node; what read its output reads `source`."""
        gone = self.nodes.pop(node.output[0])
        self.model.graph.node.remove(gone)
        for reader in self.model.graph.node:
            for index, name in enumerate(reader.input):
                if name == node.output[0]:
                    reader.input[index] = source

    def _read(self, name: str) -> npt.NDArray[np.float32]:
        return numpy_helper.to_array(self._constants[name]).astype(np.float32)
