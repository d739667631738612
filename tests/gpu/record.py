"""Write what `tests/gpu/measure.py` printed into the table of docs/gpu.md."""

from __future__ import annotations

import datetime as dt
import json
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "gpu.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
NOT_RUN = "not run"
ROWS = {
    "about": "device",
    "pycuda": "the double of pycuda has only what pycuda has",
    "kernel": "letterbox kernel against the CPU letterbox, random sizes",
    "sanitizer": "the same under compute-sanitizer",
    "speed1": "letterbox 1080p → 640, batch 1, against the memory-bandwidth floor",
    "speed8": "letterbox 1080p → 640, batch 8, against the memory-bandwidth floor",
    "others": "others' resizes on the same card",
    "overlap": "upload of 8 frames hidden behind compute",
    "hygiene": "open and close, each time in a new thread",
    "lean": "lean TensorRT runtime refuses what is no plan for it",
    "plan": "`edge-build-engine --plan`, on a full TensorRT",
    "verify": "`edge verify` of that plan",
    "pipeline": "a 1080p frame from the camera's hand to its detections, against upload and engine",
    "bench": "`edge bench` of that plan",
    "trtexec": "`trtexec` of that plan",
}
"""part: what it shows."""


def table(results: dict[str, object], date: str) -> str:
    """Return the table, with the parts that were not run marked so."""
    lines = [f"Measured: {date}", "", "| what | measured |", "|---|---|"]
    for part, what in ROWS.items():
        lines.append(f"| {what} | {cell(results[part]) if part in results else NOT_RUN} |")
    return "\n".join(lines)


def cell(result: object) -> str:
    """Return a result as one cell of a Markdown table."""
    if isinstance(result, dict):
        return "; ".join(f"{key} {cell(value)}" for key, value in result.items())
    return str(result).replace("|", "/").replace("\n", " ")


def record(results: dict[str, object], date: str, page: Path = PAGE) -> None:
    """Put the table between the marks of the page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{table(results, date)}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    found = {part: result for line in lines for part, result in json.loads(line).items()}
    record(found, f"{dt.datetime.now(dt.timezone.utc):%Y-%m-%d}")
