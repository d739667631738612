"""Know the aisle from printed markers: ArUco or AprilTag, found by OpenCV in a shrunken frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edge.capture.opencv import import_cv2
from edge.errors import MissingPackage

from .smoothing import MISREAD

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from edge.config import MarkerFamily
    from edge.frame import Image

    from .smoothing import Belief

    Corners = npt.NDArray[np.float32]

_OPENCV_NAME: dict[MarkerFamily, str] = {
    "aruco_4x4_50": "DICT_4X4_50",
    "aruco_4x4_100": "DICT_4X4_100",
    "aruco_4x4_250": "DICT_4X4_250",
    "aruco_4x4_1000": "DICT_4X4_1000",
    "apriltag_36h11": "DICT_APRILTAG_36h11",
}
_WIDTH = 960
"""Pixels that a wider frame is shrunk to: from 1080p, markers of 48 pixels are found as a rule."""
_WINDOW = 23
"""Pixels of the one window of the adaptive threshold: OpenCV's three take three times as long."""

_BORDER = 0.02
"""A marker and the outline of its white border are told apart from this distance on, a share of its
perimeter. OpenCV's 0.05 (0.125 since 4.9) takes a tag with a border of one cell for its outline."""


class MarkerReader:
    """Says from the markers in a frame which of the aisles it shows; `ids` has those of each.

    Only these markers are looked for, so what happens to look like another one misleads nobody.
    Raises `MissingPackage` where this OpenCV has no ArUco module.
    """

    def __init__(self, family: MarkerFamily, ids: Sequence[Sequence[int]]) -> None:
        self._cv2 = import_cv2()
        self._of = {number: aisle for aisle, numbers in enumerate(ids) for number in numbers}
        self._states = len(ids) + 1
        self._find = _finder(self._cv2, family, tuple(self._of))

    def likelihood(self, image: Image) -> Belief:
        """Return float64 (aisles + 1,), the last for none of them; all 1: no marker was found.

        Where markers of several aisles are seen, the largest ones in the picture are the nearest.
        """
        areas = np.zeros(self._states)
        for number, corners in self._find(self._shrunk(image)):
            areas[self._of[number]] += self._cv2.contourArea(corners)
        if not areas.any():
            return np.ones(self._states)
        likelihood: Belief = np.maximum(areas / areas.max(), MISREAD)
        return likelihood

    def _shrunk(self, image: Image) -> Image:
        cv2 = self._cv2
        height, width = image.shape[:2]
        if width > _WIDTH:
            size = (_WIDTH, max(1, round(height * _WIDTH / width)))
            image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), np.uint8)


def _finder(
    cv2: Any,  # noqa: ANN401 - a module
    family: MarkerFamily,
    numbers: tuple[int, ...],
) -> Callable[[Image], list[tuple[int, Corners]]]:
    """Return what finds these markers in a grey picture, each with its corners (4, 2)."""
    if not hasattr(cv2, "aruco"):
        raise MissingPackage(
            f"markers need an OpenCV with ArUco, and OpenCV {cv2.__version__} has none",
            "install opencv 4.7 or later, or 4.6 with its contrib modules",
        )
    aruco = cv2.aruco
    dictionary = aruco.getPredefinedDictionary(getattr(aruco, _OPENCV_NAME[family]))
    dictionary.bytesList = np.ascontiguousarray(dictionary.bytesList[list(numbers)])
    new = hasattr(aruco, "ArucoDetector")  # since 4.7; Debian 12 and Ubuntu 22.04 have older ones
    parameters = aruco.DetectorParameters() if new else aruco.DetectorParameters_create()
    parameters.adaptiveThreshWinSizeMin = parameters.adaptiveThreshWinSizeMax = _WINDOW
    parameters.minMarkerDistanceRate = _BORDER
    detector = aruco.ArucoDetector(dictionary, parameters) if new else None

    def find(grey: Image) -> list[tuple[int, Corners]]:
        if detector is not None:
            corners, rows, _ = detector.detectMarkers(grey)
        else:
            corners, rows, _ = aruco.detectMarkers(grey, dictionary, parameters=parameters)
        found = () if rows is None else np.asarray(rows).reshape(-1).tolist()
        return [
            (numbers[row], np.reshape(four, (4, 2)))
            for row, four in zip(found, corners, strict=True)
        ]

    return find
