"""Beside a float graph: what quantisation leaves of its tensors, each by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper

from .observe import INPUT, open_session
from .topology import scaled_input, silu_input
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from .scales import Scale
    from .topology import Topology


class Seen:
    """A float graph to which is written what its convolutions would see in 8 bits."""

    def __init__(self, topology: Topology, scales: Mapping[str, Scale]) -> None:
        self._topology = topology
        self._scales = scales
        self.writer = Writer({f"{name}/seen": scale for name, scale in scales.items()})
        self.writer.nodes.extend(topology.nodes)
        self._written: set[str] = set()
        self._means: list[str] = []

    def tensor(self, name: str) -> str:
        """Return what is left of a tensor; x * sigmoid(x) is made of what is left of x."""
        if name not in self._written:
            self._written.add(name)
            made = self._made(name)
            self.writer.emit(helper.make_node("Identity", [made], [f"{name}/seen"]))
        return f"{name}/seen/dq"

    def _made(self, name: str) -> str:
        """Return the float tensor, or what an activation in 8 bits makes of it."""
        node = self._topology.producer[name]
        x = silu_input(self._topology, node)
        if x is not None and x in self._scales:
            gate = next(n for n in node.input if n != x)
            gated = self._topology.producer[gate].input[0]
            return self.op("Mul", self.tensor(x), self.op("Sigmoid", self.tensor(gated)))
        x = scaled_input(self._topology, name)
        if x is not None and x in self._scales:
            return self.op("Mul", self.tensor(x), node.input[1])
        return name

    def op(self, op: str, *inputs: str) -> str:
        """Write a node; return its output."""
        output = f"local/{len(self.writer.nodes)}"
        self.writer.nodes.append(helper.make_node(op, inputs, [output]))
        return output

    def instead(self, node: onnx.NodeProto) -> Writer:
        """Return the writer of the graph with this node for its own that makes the same tensor."""
        nodes, count = self.writer.nodes, len(self._topology.nodes)
        place = next(i for i in range(count) if nodes[i].output[0] == node.output[0])
        self.writer.nodes = [*nodes[:place], *nodes[count:], node, *nodes[place + 1 : count]]
        return self.writer

    def mean(self, name: str, output: str) -> None:
        """Ask for the mean of a tensor (N, C, ...) per channel, to be had as `output`."""
        # ReduceMean changed its signature in opset 18; this reads the same before and after.
        self.writer.nodes.append(helper.make_node("GlobalAveragePool", [name], [output]))
        self._means.append(output)

    def means(
        self,
        model: onnx.ModelProto,
        frames: Sequence[npt.NDArray[np.uint8]],
        done: Callable[[int], None],
    ) -> dict[str, npt.NDArray[np.float64]]:
        """Run it; return the means asked for, (C,) each, over all frames."""
        names = self._means
        if not names:
            return {}
        written = self.writer.finish(model)
        del written.graph.output[:]
        written.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = open_session(written)
        sums = dict.fromkeys(names, np.zeros(1))
        for index, frame in enumerate(frames):
            values = session.run(names, {INPUT: frame[np.newaxis]})
            for name, value in zip(names, values, strict=True):
                per_channel = value.reshape(*value.shape[:2]).mean(axis=0, dtype=np.float64)
                sums[name] = sums[name] + per_channel
            done(index + 1)
        return {name: value / len(frames) for name, value in sums.items()}
