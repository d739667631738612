"""Know the aisle from the picture as a whole: a small network trained on pictures of the aisles.

It is run by OpenCV, which every device with a camera has, on that camera's thread.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge.capture.opencv import import_cv2
from edge.errors import BundleError, MissingPackage

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edge.frame import Image

    from .smoothing import Belief

PASSPORT, NETWORK = "classifier.json", "classifier.onnx"
_REMEDY = "train it again: python -m engines.zoo.aisle_classifier"
_LARGEST = 16_000_000
"""Bytes of a network; ours have 0.2 MB."""


class Passport(BaseModel):
    """What a classifier was trained for."""

    model_config = ConfigDict(frozen=True)

    format: Literal["aisle-edge/aisle-classifier/1"] = "aisle-edge/aisle-classifier/1"
    aisles: Annotated[tuple[str, ...], Field(min_length=1)]
    """In the order of the outputs; one more output means none of them."""
    width: Annotated[int, Field(ge=16, le=1024)]
    height: Annotated[int, Field(ge=16, le=1024)]
    """Pixels of the picture it is shown: the whole frame, scaled down, its aspect let go."""
    sha256: str
    """Of the network's file."""
    trained_on: str = ""
    measured: dict[str, float] = {}
    """Share of held-out frames, 0..1."""


def read_passport(directory: Path) -> Passport:
    """Return a classifier's passport; raises `BundleError` naming what is wrong with it."""
    path = directory / PASSPORT
    try:
        return Passport.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BundleError(f"aisle classifier {path}: {error.strerror}", _REMEDY) from None
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise BundleError(f"aisle classifier {path}: {where}: {first['msg']}", _REMEDY) from None


def shrink(image: Image, passport: Passport) -> Image:
    """Return a frame at the size that a classifier is shown, uint8 (height, width, 3) BGR."""
    import cv2

    size = (passport.width, passport.height)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


class AisleClassifier:
    """How well a frame fits each of `aisles`, some or all of those that the network knows.

    Raises `BundleError` where the files are missing or damaged, and `ValueError` for an aisle that
    the network does not know (a configuration is held against the passport before).
    """

    def __init__(self, directory: Path, aisles: Sequence[str]) -> None:
        self._passport = read_passport(directory)
        self._mine = [self._passport.aisles.index(aisle) for aisle in aisles]
        self._cv2 = import_cv2()
        if not hasattr(self._cv2, "dnn"):
            raise MissingPackage(
                f"an aisle classifier needs OpenCV's dnn module, and OpenCV "
                f"{self._cv2.__version__} has none",
                "use aisles_by: {markers: …}, or an OpenCV that was built with it",
            )
        self._network = self._load(directory / NETWORK)

    def likelihood(self, image: Image) -> Belief:
        """Return float64 (aisles + 1,), the greatest 1; the last: it is none of them."""
        small = shrink(image, self._passport).astype(np.float32)
        self._network.setInput(np.ascontiguousarray(small.transpose(2, 0, 1)[None]))
        shares = np.asarray(self._network.forward(), np.float64).reshape(-1)
        others = np.delete(shares, self._mine)
        found = np.append(shares[self._mine], others.max())
        likelihood: Belief = found / found.max()
        return likelihood

    def _load(self, path: Path) -> Any:  # noqa: ANN401 - OpenCV's network
        try:
            with path.open("rb") as file:
                raw = file.read(_LARGEST)
        except OSError as error:
            raise BundleError(f"aisle classifier {path}: {error.strerror}", _REMEDY) from None
        found = hashlib.sha256(raw).hexdigest()
        if found != self._passport.sha256:
            raise BundleError(
                f"aisle classifier {path}: sha256 {found[:12]}… is not the passport's", _REMEDY
            )
        try:
            return self._cv2.dnn.readNetFromONNX(np.frombuffer(raw, np.uint8))
        except self._cv2.error as error:
            raise BundleError(
                f"aisle classifier {path}: OpenCV {self._cv2.__version__} cannot read it: "
                f"{str(error).strip().splitlines()[-1]}",
                _REMEDY,
            ) from error
