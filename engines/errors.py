"""What can go wrong in a build: below `edge.errors.EdgeError`, with its own exit statuses."""

from __future__ import annotations

from edge.errors import EdgeError


class BuildError(EdgeError):
    """A model, image set or option cannot be built from: what, and what to do. Exit 3."""

    exit_code = 3


class ModelError(BuildError):
    """The model file is not what it should be: not ONNX, truncated, of no known family."""


class UncertainFamily(ModelError):  # noqa: N818 - reads as what it is
    """The model may be of a family, or of several: the user has to say which."""


class AlreadyQuantised(ModelError):  # noqa: N818 - reads as what it is
    """The model is no float model any more; it can be looked at, but not built from."""


class ImagesError(BuildError):
    """The images are missing, unreadable or too few."""


class AnnotationsError(BuildError):
    """The annotations are no COCO file, or not of these images, or not of the model's labels."""


class DetectsNothing(BuildError):  # noqa: N818 - reads as what happened
    """The trained model itself detects nothing, or gives no numbers. Exit 4."""

    exit_code = 4


class BudgetError(BuildError):
    """The INT8 graphs do not detect what the float model detects. Exit 4."""

    exit_code = 4
