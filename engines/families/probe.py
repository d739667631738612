"""Run a network on noise, to prove what its structure only suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from engines.model import Network


def values_of(network: Network, tensors: Sequence[str]) -> list[npt.NDArray[np.float32]]:
    """Return what tensors of the network hold on one frame of noise, 0..1, of batch 1."""
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(network.model)
    del probe.graph.output[:]
    for name in tensors:
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    width, height = network.size_wh
    noise = np.random.default_rng(0).random((1, 3, height, width), np.float32)
    found: list[npt.NDArray[np.float32]] = session.run(None, {network.image: noise})
    return found
