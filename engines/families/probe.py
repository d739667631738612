"""Run a network on noise, to prove what its structure only suggests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx

from engines.errors import ModelError
from engines.families.built_in import taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from engines.families.family import Preprocessing
    from engines.reading.model import Network


def values_of(
    network: Network, tensors: Sequence[str], fed: Preprocessing
) -> list[npt.NDArray[np.float32]]:
    """Return what tensors of the network hold on one frame of noise that is fed as trained.

    What its graph does to the pixels itself is not done twice. Raises `ModelError` where the
    network does not run: a shape inside that fits another size only is seen no earlier.
    """
    import onnxruntime

    probe = onnx.ModelProto()
    probe.CopyFrom(network.model)
    del probe.graph.output[:]
    for name in tensors:
        probe.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    fed = taken(network, fed)
    width, height = network.size_wh
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3))
    planes = ((noise * fed.scale - fed.mean) / fed.std).transpose(2, 0, 1)[np.newaxis]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(
            probe.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        found: list[npt.NDArray[np.float32]] = session.run(
            None, {network.image: planes.astype(np.float32)}
        )
    except Exception as error:  # onnxruntime's exceptions share no base but this
        raise ModelError(
            f"model {network.source.path}: ONNX Runtime loads it, but cannot run it at "
            f"{width}x{height}: {str(error).splitlines()[0]}",
            "check --size, where the export leaves it open, or export the model again",
        ) from error
    return found
