"""What `edge bench` says of its rounds."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from edge.detector.bundle import Bundle

WAIT, WORK = "wait for a frame", "inference and decoding"
WAITING = 0.2
"""Share of its time from which on the detector is said to wait for the source."""


@dataclass(slots=True)
class Round:
    """One turn of the pipeline and one of the bare session."""

    pipeline_fps: float
    bare_fps: float
    latencies_ms: list[float] = field(default_factory=list)
    """Of the pipeline's frames: from the grab to the messages in the outbox."""
    bare_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)


def paced(report: dict[str, Any]) -> str:
    """Say so where the detector waited for the source: then the ratio is not the pipeline's."""
    waited, worked = (report["stages_ms"][name] for name in (WAIT, WORK))
    if waited < WAITING * (waited + worked):
        return ""
    return (
        f"the source gave {report['pipeline_fps']:.0f} frames a second, fewer than are detected "
        "here: the ratio says how slow it is; measure on a file:///video.mp4?loop=1"
    )


def report_of(
    bundle: Bundle, runtime: str, rounds: list[Round], reporting: dict[str, float]
) -> dict[str, Any]:
    """Return the medians of all rounds, as `--json` gives them."""
    latencies = [ms for r in rounds for ms in r.latencies_ms]
    names = rounds[0].stages_ms
    return {
        "bundle": f"{bundle.passport.name} {bundle.passport.version}",
        "runtime": runtime,
        "rounds": len(rounds),
        "frames": len(latencies),
        "pipeline_fps": median([r.pipeline_fps for r in rounds]),
        "bare_fps": median([r.bare_fps for r in rounds]),
        "ratio": median([r.pipeline_fps / r.bare_fps for r in rounds]),
        "ratio_lowest": round(min(r.pipeline_fps / r.bare_fps for r in rounds), 4),
        "ratio_highest": round(max(r.pipeline_fps / r.bare_fps for r in rounds), 4),
        "latency_ms": {f"p{p}": round(float(np.percentile(latencies, p)), 2) for p in (50, 95, 99)},
        "bare_ms": median([ms for r in rounds for ms in r.bare_ms]),
        "stages_ms": {
            name: median([ms for r in rounds for ms in r.stages_ms[name]]) for name in names
        }
        | reporting,
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def median(values: list[float]) -> float:
    """Return the median, to four places."""
    return round(float(np.median(values)), 4)


def table(report: dict[str, Any]) -> str:
    """Return a line for each figure."""
    return "\n".join(f"{key:<16} {value}" for key, value in report.items())
