"""How far a build is: a bar on a terminal, a line per step elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console

    Progress = Callable[[str, int, int], None]


@contextmanager
def shown(console: Console) -> Iterator[Progress]:
    """Yield what to tell progress to: (step, how many are done, of how many)."""
    if console.is_terminal:
        with _bar(console) as told:
            yield told
    else:
        yield _lines(console)


@contextmanager
def _bar(console: Console) -> Iterator[Progress]:
    from rich import progress

    with progress.Progress(
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        console=console,
        transient=True,
    ) as bars:
        task = bars.add_task("")
        yield lambda step, done, total: bars.update(
            task, description=step, completed=done, total=total
        )


def _lines(console: Console) -> Progress:
    last = ""

    def told(step: str, _done: int, _total: int) -> None:
        nonlocal last
        if step != last:
            last = step
            console.print(step, markup=False, highlight=False)

    return told
