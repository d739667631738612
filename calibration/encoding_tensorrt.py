"""The encoding that TensorRT fuses: Q/DQ at the inputs of convolutions and residual additions.

Symmetric int8 with zero point 0, weights per channel on axis 0, biases float32, Q behind the
activation (NVIDIA, "Working with Quantized Types": Q/DQ placement recommendations).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .convolution import weights_of
from .groups import groups, sources
from .ranges import merged, search
from .scales import symmetric
from .writer import Writer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    import numpy.typing as npt
    import onnx

    from .histogram import Histogram
    from .prelude import Prelude
    from .scales import Scale, Weights
    from .topology import Topology


def quantisable(topology: Topology, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Return the nodes that TensorRT runs in int8: convolutions and sums of two activations."""
    return [
        node
        for node in nodes
        if node.op_type == "Conv"
        or (node.op_type == "Add" and len(topology.activations([*node.input])) == len(node.input))
    ]


def scales(
    topology: Topology,
    prelude: Prelude,
    nodes: list[onnx.NodeProto],
    body: list[onnx.NodeProto],
    histograms: Mapping[str, Histogram],
) -> dict[str, Scale]:
    """Return a symmetric scale for every tensor that `nodes` read, shared over moves in `body`."""
    read = {name for node in nodes for name in topology.activations([*node.input])}
    found: dict[str, Scale] = {}
    for group in groups(topology, body):
        if wanted := read.intersection(group):
            if prelude.scale is not None and prelude.tensor in group:
                low, high = prelude.scale.limits
                zero, step = prelude.scale.zero_point, prelude.scale.scale
                scale = symmetric((low - zero) * step, (high - zero) * step)
            else:
                made = sources(topology, group)
                scale = search(merged(topology, made, histograms), make=symmetric)
            found.update(dict.fromkeys(sorted(wanted), scale))
    return found


def encode(  # noqa: PLR0913, PLR0917 - the parts of one calibration
    model: onnx.ModelProto,
    topology: Topology,
    integer: Collection[str],
    scales: Mapping[str, Scale],
    rounded: Mapping[str, Weights],
    biases: Mapping[str, npt.NDArray[np.float32]],
) -> onnx.ModelProto:
    """Return the graph with Q/DQ on what the nodes named in `integer`, by first output, read.

    Whatever else reads these tensors reads them in float; `biases` replaces biases of
    convolutions, by output name.
    """
    writer = Writer(scales)
    for node in topology.nodes:
        output = node.output[0]
        copy = writer.rewired(node) if output in integer else writer.untouched(node)
        values = weights_of(topology, node) if node.op_type == "Conv" else None
        if values is not None and output in biases:
            bias = biases[output]
            del copy.input[2:]
            copy.input.append(writer.constant(f"{output}/bias", bias))
        if values is not None and output in integer:
            copy.input[1] = writer.weights(output, rounded[output])
        writer.emit(copy)
    return writer.finish(model)
