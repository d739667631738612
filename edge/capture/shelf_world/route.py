"""Where a moving camera is: it stops before every bay and drives on."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .views import Station

_STOP_S, _DRIVE_S = 6.0, 1.2
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
    """Says which part of which station's picture a camera sees from between the stations.

    The rack's front moves as it should. What is deeper in the rack should move less and does not:
    the ground truth moves with the picture.
    """

    def __init__(self, stations: tuple[Station, ...]) -> None:
        self._stations = stations
        # From the last station it is back at the first at once.
        ways = (_way(here, there) for here, there in itertools.pairwise(stations))
        self._ways = (*ways, None)

    def at(self, time_s: float) -> Pose:
        """Return the camera's pose at a time."""
        if len(self._stations) == 1:
            return Pose(0, 0.0, 0.0)
        return pose_at(time_s, self._ways)

    def window(self, pose: Pose) -> int:
        """Return where in a station's picture, pixels from its left, the frame begins."""
        pixels = pose.offset_m * self._pixels_per_m(pose.station)
        return self._stations[pose.station].margin_px + round(pixels)

    def smear_px(self, pose: Pose) -> int:
        """Return how many pixels the rack's front moves while the shutter is open."""
        return round(abs(pose.speed_m_s) * _SHUTTER_S * self._pixels_per_m(pose.station))

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
