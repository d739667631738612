"""Run a network on noise, to prove what its structure only suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from engines.families.family import Preprocessing
    from engines.model import Network


def values_of(
    network: Network, tensors: Sequence[str], fed: Preprocessing
) -> list[npt.NDArray[np.float32]]:
    """Return what tensors of the network hold on one frame of noise that is fed as trained."""
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
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    planes = ((noise * fed.scale - fed.mean) / fed.std).transpose(2, 0, 1)[np.newaxis]
    found: list[npt.NDArray[np.float32]] = session.run(
        None, {network.image: planes.astype(np.float32)}
    )
    return found
