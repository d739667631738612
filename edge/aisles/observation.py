"""What the aisles know: one frame's objects of an aisle, and an aisle's settled state."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.frame import Blindness

if TYPE_CHECKING:
    from datetime import datetime

    from edge.detections import Detections
    from edge.frame import FrameStamp


@dataclass(frozen=True, slots=True)
class AisleObservation:
    """The objects of one aisle in one frame of one camera (may be none: it was seen empty)."""

    aisle: str
    stamp: FrameStamp
    detections: Detections
    zone: tuple[tuple[float, float], ...]
    """The polygon, corners as fractions of the frame, in which the anchors lie."""


@dataclass(frozen=True, slots=True)
class CameraView:
    """What one camera contributes to an aisle's state."""

    camera: str
    blindness: Blindness | None
    """Why it cannot see; None: it sees."""
    counts: dict[str, int]
    """Settled number of objects per label; empty while blind."""


@dataclass(frozen=True, slots=True)
class LastSeen:
    """What stood in an aisle when it was last seen, and the UTC time until which it was."""

    until: datetime
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class AisleState:
    """What stands in one aisle, settled over the hysteresis time.

    Cameras of one aisle are views of the same place: `counts` is per label the largest count of
    the cameras that see. An aisle is unknown only while none of its cameras can see.
    """

    aisle: str
    since: datetime
    """UTC time from which this state holds."""
    unknown: Blindness | None
    """Why nobody can tell; None: the aisle is seen and `counts` is the truth as seen."""
    counts: dict[str, int]
    confidence: dict[str, float]
    """Mean score per label over the hysteresis window, 0..1."""
    cameras: tuple[CameraView, ...]
    last_seen: LastSeen | None = None
    """While it is unknown, if it was ever seen since the start."""

    @property
    def partial(self) -> bool:
        """Whether some, but not all, of its cameras are blind: counts may be too low.

        A moving camera that is elsewhere is not blind.
        """
        fine = {None, Blindness.OUT_OF_VIEW}
        return self.unknown is None and any(v.blindness not in fine for v in self.cameras)
