"""How a network is fed where that is not as its family usually is: what the user says otherwise."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from engines.families.family import Preprocessing

Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Feeding:
    """What was asked for, None where the family decides; see `Preprocessing` for the meaning."""

    letterbox: Literal["centered", "top-left", "stretch"] | None = None
    pad: int | None = None
    colours: Literal["BGR", "RGB"] | None = None
    scale: float | None = None
    mean: Triple | None = None
    std: Triple | None = None

    @property
    def asked(self) -> dict[str, object]:
        """What is not left to the family, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def over(self, usual: Preprocessing) -> Preprocessing:
        """Return how the network is fed: as is usual, but for what was asked for."""
        return replace(usual, **self.asked)  # type: ignore[arg-type]

    def origin(self, *names: str) -> str:
        """Say where these settings are from, and how to change them."""
        options = " ".join(f"--{name}" for name in names)
        if any(name in self.asked for name in names):
            return "asked for"
        return f"from the family; else: {options}"
