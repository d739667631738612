"""The report's maps and tables of places: what is found where, and after which change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engines.evaluation.location import LARGEST_DROP
from engines.evaluation.places import FEWEST, SURE, Count
from engines.evaluation.report_tables import PARTS
from engines.evaluation.sweep import GRID

if TYPE_CHECKING:
    from engines.evaluation.location import Location
    from engines.evaluation.moved_scenes import Followed
    from engines.evaluation.places import Places

_MISSED = (0.02, 0.1, 0.25, 0.5)
"""Shares between which a cell's colour changes."""


def heat_maps(where: Location) -> list[dict[str, Any]]:
    """Return the cells of the picture, for each INT8 graph: annotated objects first."""
    maps = [
        _heat_map(
            f"Annotated objects, {PARTS[part].name}",
            "Share of the annotated objects that INT8 finds, by where they stand in the picture; "
            "vs: float's.",
            places,
        )
        for part, places in where.annotated.items()
    ]
    return maps + [
        _heat_map(
            f"The same objects elsewhere, {PARTS[part].name}",
            f"{seen.frames} images were moved and zoomed so that their objects stand in every cell "
            "of the picture: the share that INT8 finds there; vs: float's.",
            seen.places,
        )
        for part, seen in where.followed.items()
    ]


def _heat_map(title: str, reading: str, places: Places) -> dict[str, Any]:
    worst = places.worst
    rows = []
    for row, band in enumerate(places.bands):
        counts = [places.cells.get((row, column), Count()) for column in range(GRID)]
        cells = [_cell(count) for count in counts]
        for column, cell in enumerate(cells):
            if (
                worst is not None
                and worst.count.drop > 0
                and worst.place == f"row {row + 1}, column {column + 1}"
            ):
                cell["style"] += " worst"
        rows.append([*cells, {**_cell(band), "style": "band"}])
    bounds = [f"{b:.0%}" for b in _MISSED]
    said = f"No cell has {FEWEST} objects: nothing can be judged."
    if worst is not None and worst.count.drop > 0:
        said = f"Outlined: {worst}. " + (
            f"It loses {worst.drop_at_least:.0%} at least."
            if worst.drop_at_least > 0
            else "So few may be chance."
        )
    elif worst is not None:
        said = f"In none of {worst.judged} judged cells does INT8 find less than float."
    return {
        "title": title,
        "reading": reading,
        "columns": GRID,
        "rows": rows,
        "scale": [f"≤ {bounds[0]}", *(f"≤ {b}" for b in bounds[1:]), f"> {bounds[-1]}"],
        "worst": said,
    }


def _cell(count: Count) -> dict[str, Any]:
    n = count.objects
    if not n:
        return {"objects": 0, "style": "few"}
    missed = 1 - count.by_int8 / n
    level = sum(missed > bound for bound in _MISSED)
    return {
        "objects": n,
        "share": f"{count.by_int8 / n:.0%}",
        "by_float": f"{count.by_float / n:.0%}",
        "style": f"l{level}" if n >= FEWEST else "few",
    }


def change_tables(where: Location) -> list[dict[str, Any]]:
    """Return, for each INT8 graph, what is still found after each change and on each shelf."""
    tables = [
        {
            "title": f"Shelf levels as annotated, {PARTS[part].name}",
            "of": "shelf",
            "rows": [_row(f"level {level}", n) for level, n in sorted(places.levels.items())],
        }
        for part, places in where.annotated.items()
    ]
    tables += [
        {
            "title": f"The same scene changed, {PARTS[part].name} ({seen.frames} images); marked: "
            "where INT8 certainly finds fewer than float",
            "of": "the scene was",
            "rows": _changes(seen),
        }
        for part, seen in where.followed.items()
    ]
    return [table for table in tables if table["rows"]]


def _changes(seen: Followed) -> list[dict[str, Any]]:
    return [_row(f"{kind} {name}".strip(), count) for (kind, name), count in seen.changes.items()]


def _row(what: str, count: Count) -> dict[str, Any]:
    n = max(1, count.objects)
    return {
        "what": what,
        "objects": count.objects,
        "by_float": f"{count.by_float / n:.0%}",
        "by_int8": f"{count.by_int8 / n:.0%}",
        "style": "missed" if count.drop_at_least(SURE) > LARGEST_DROP else "",
    }
