"""What goes first when there is no room: old detections, then states a newer one has replaced.

Never the newest state of an aisle, the newest status of a camera, nor a gap record.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Sheddable(Protocol):
    """What the rule looks at."""

    @property
    def kind(self) -> str:
        """`state`, `detections`, `camera` or `gap`."""

    @property
    def topic(self) -> str:
        """Where it goes."""

    @property
    def retain(self) -> bool:
        """Whether a newer one on the same topic replaces it."""


T = TypeVar("T", bound=Sheddable)


def expendable(items: Sequence[Sheddable]) -> int | None:
    """Return the index of the one to shed first, oldest being first in `items`; None: none may."""
    for index, item in enumerate(items):
        if item.kind == "detections":
            return index
    newest = {item.topic: index for index, item in enumerate(items) if item.retain}
    for index, item in enumerate(items):
        if item.retain and newest[item.topic] != index:
            return index
    return None


class Holding(Generic[T]):
    """Up to `most` messages in memory, in order; what may not be shed is held beyond that."""

    def __init__(self, most: int) -> None:
        self.items: list[T] = []
        self._most = most

    def add(self, items: Iterable[T]) -> list[T]:
        """Take these as the newest; return what had to go for them."""
        shed: list[T] = []
        for item in items:
            self.items.append(item)
            if len(self.items) > self._most and (index := expendable(self.items)) is not None:
                shed.append(self.items.pop(index))
        return shed

    def take(self) -> list[T]:
        """Return everything held and hold nothing."""
        taken, self.items = self.items, []
        return taken


def runs(seqs: Iterable[int]) -> list[tuple[int, int]]:
    """Return (first, last) of each run of consecutive numbers, in order."""
    found: list[tuple[int, int]] = []
    for seq in sorted(seqs):
        if found and seq <= found[-1][1] + 1:
            found[-1] = (found[-1][0], seq)
        else:
            found.append((seq, seq))
    return found
