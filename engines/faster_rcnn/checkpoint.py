"""Read the weights of a `.pth` file, and nothing else of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edge.errors import PIP, MissingPackage
from engines.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt

Weights = dict[str, "npt.NDArray[np.float32]"]

SUFFIXES = frozenset({".pth", ".pt"})
_WRAPPED = ("model", "state_dict", "model_state_dict")
_SAVE = (
    'give torch.save(model.state_dict(), "model.pth") of a torchvision Faster R-CNN, and of other '
    "models the ONNX export"
)


def read(path: Path) -> Weights:
    """Return the tensors of a state_dict by name, float32; raises `ModelError`, `MissingPackage`.

    Only tensors are unpickled (`weights_only`): a checkpoint that needs code is refused.
    """
    try:
        import torch
    except ImportError as error:
        raise MissingPackage(
            f"model {path}: a checkpoint is read with torch, which is not installed",
            f"for torchvision's Faster R-CNN: {PIP} install 'aisle-edge[torch]'; "
            "of any other model give the ONNX export, e.g. of Ultralytics: "
            "yolo export model=best.pt format=onnx",
        ) from error
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise ModelError(
            f"model {path}: {error.strerror}", "give the path of a .pth file"
        ) from error
    except Exception as error:  # torch's and pickle's exceptions share no base but this
        raise ModelError(
            f"model {path}: expected a state_dict, tensors only; torch cannot read it as one: "
            f"{str(error).splitlines()[0]}",
            _SAVE,
        ) from error
    return _tensors(path, found)


def _tensors(path: Path, found: Any) -> Weights:  # noqa: ANN401
    """Return what training scripts wrap in one more dictionary, too."""
    for key in _WRAPPED:
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not all(hasattr(v, "numpy") for v in found.values()):
        raise ModelError(
            f"model {path}: expected a state_dict, found {type(found).__name__}", _SAVE
        )
    return {
        str(name).removeprefix("module."): tensor.detach().float().numpy()
        for name, tensor in found.items()
    }
