"""A model that somebody else has quantised: refused, and told whether it detects anything."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, NoReturn

from edge.errors import RuntimeFailure
from engines import images
from engines.errors import AlreadyQuantised, DetectsNothing, ModelError
from engines.evaluation.accuracy import THRESHOLD, run_graph
from engines.inspection import understand

if TYPE_CHECKING:
    from pathlib import Path

    from edge.detector.runtime import RawDetections
    from engines.images import Progress
    from engines.inspection import Order

_log = logging.getLogger(__name__)


def refuse(
    order: Order, given: list[Path], error: AlreadyQuantised, progress: Progress
) -> NoReturn:
    """Raise `DetectsNothing` where the model is blind on the images too, else `error`.

    Whoever built from its float original with another tool learns here what that tool did.
    """
    raw = _outputs(order, given, progress)
    if raw is None:
        raise error
    if raw.scores.max() == 0:
        raise DetectsNothing(
            f"model {order.model} is already quantised and detects nothing: every score is 0 on "
            f"all {len(raw.scores)} images",
            "its quantiser broke it: export the trained float32 model again, and build from that",
        )
    found = int((raw.scores >= THRESHOLD).sum())
    raise AlreadyQuantised(
        f"{error.message}; as it is, it has {found} detections above {THRESHOLD} in "
        f"{len(raw.scores)} images",
        error.hint,
    )


def _outputs(order: Order, given: list[Path], progress: Progress) -> RawDetections | None:
    """Return what it gives on images; None where it cannot be run as it is."""
    try:
        adapted = understand(order, quantised=True)
        frames = images.select(given, adapted.input, progress).held_out
        return run_graph(adapted.graph, frames, lambda n, of: progress("trying it", n, of))
    except (ModelError, RuntimeFailure) as problem:
        _log.info("the quantised model cannot be tried: %s", problem)
        return None
