"""How a camera is doing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edge.frame import Blindness


@dataclass(frozen=True, slots=True)
class CameraStatus:
    """A snapshot of one camera's health, safe to hand to another thread."""

    camera: str
    blindness: Blindness | None
    """Why it cannot see; None: it sees."""
    fps: float
    """Frames looked at per second, over the last few seconds."""
    dropped: int
    """Frames looked at that a newer one replaced before the detector took them."""
    reopened: int
    """Times the source had to be opened again."""
    detail: str = ""
    """The last error's one line, while there is one."""

    @property
    def state(self) -> Literal["streaming", "stalled", "blind"]:
        """One word: `stalled` brings no frames, `blind` brings frames that show nothing."""
        if self.blindness is None:
            return "streaming"
        return "stalled" if self.blindness.value in {"stalled", "starting"} else "blind"
