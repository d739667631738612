"""Where a moving camera is: it stops before every bay and drives on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edge.frame import Image

    from .patch import Identities
    from .views import Station

_STOP_S, _DRIVE_S = 5.0, 1.2
_SHUTTER_S = 1 / 80


@dataclass(frozen=True)
class Pose:
    """The station whose picture is shown, and how far the camera is from it, metres sideways."""

    station: int
    offset_m: float
    speed_m_s: float


def pose_at(time_s: float, ways_m: tuple[float | None, ...]) -> Pose:
    """Return the pose at a time; `ways_m` are the ways from each station to the next.

    A way that is None is not shown: the camera is somewhere else at once.
    """
    round_s = _STOP_S + _DRIVE_S
    leg, since = divmod(time_s, round_s)
    station = int(leg) % len(ways_m)
    if since <= _STOP_S:
        return Pose(station, 0.0, 0.0)
    share = (since - _STOP_S) / _DRIVE_S
    way = ways_m[station]
    if way is None:
        return Pose(station if share < 0.5 else (station + 1) % len(ways_m), 0.0, 0.0)  # noqa: PLR2004
    done = way * share * share * (3 - 2 * share)
    speed = way * 6 * share * (1 - share) / _DRIVE_S
    if share < 0.5:  # noqa: PLR2004 - nearer to where it came from
        return Pose(station, done, speed)
    return Pose((station + 1) % len(ways_m), done - way, speed)


class Motion:
    """Shows the pictures of stations from where the camera is between them.

    The rack's front moves as it should. What is deeper in the rack should move less and does not:
    the ground truth moves with the picture.
    """

    def __init__(self, stations: tuple[Station, ...]) -> None:
        self._stations = stations
        following = (*stations[1:], stations[0])
        self._ways = tuple(
            _way(here, there) for here, there in zip(stations, following, strict=True)
        )

    def at(self, time_s: float) -> Pose:
        """Return the camera's pose at a time."""
        if len(self._stations) == 1:
            return Pose(0, 0.0, 0.0)
        return pose_at(time_s, self._ways)

    def moved(self, pose: Pose, image: Image, identities: Identities) -> tuple[Image, Identities]:
        """Return a station's picture and object numbers as seen from a pose beside it."""
        import cv2

        pixels_per_m = self._pixels_per_m(pose.station)
        matrix = np.array([(1.0, 0.0, -pose.offset_m * pixels_per_m), (0.0, 1.0, 0.0)])
        size = (image.shape[1], image.shape[0])
        seen = cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE)
        smear = round(abs(pose.speed_m_s) * _SHUTTER_S * pixels_per_m) | 1
        if smear > 1:
            seen = cv2.blur(seen, (smear, 1))
        numbers = cv2.warpAffine(identities, matrix, size, flags=cv2.INTER_NEAREST)
        return np.asarray(seen, np.uint8), np.asarray(numbers, np.uint16)

    def _pixels_per_m(self, station: int) -> float:
        """Return the scale of the rack's front plane."""
        here = self._stations[station]
        front = here.camera.depth(here.racks[0].origin[None])
        return here.camera.focal_px / float(front[0])


def _way(here: Station, there: Station) -> float | None:
    if here.racks != there.racks:
        return None
    way = here.camera.axes[0] @ (there.camera.position - here.camera.position)
    return float(way)
