"""Hear what TensorRT says and how far it is while it builds."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, SupportsInt

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    import tensorrt as trt

    from engines.build_log import BuildLog

    Progress = Callable[[str, int, int], None]


def logger_to(said: BuildLog) -> trt.ILogger:
    """Return a logger that gives what TensorRT says to the build's log."""
    import tensorrt as trt

    levels = {
        trt.ILogger.INTERNAL_ERROR: logging.ERROR,
        trt.ILogger.ERROR: logging.ERROR,
        trt.ILogger.WARNING: logging.WARNING,
        trt.ILogger.INFO: logging.INFO,
    }

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity in levels:
                said.take(levels[severity], msg)

    return Logger()


def watch(config: trt.IBuilderConfig, progress: Progress, stop: threading.Event) -> None:
    """Have the builder tell how far it is, and end at `stop`: it can from TensorRT 10 on."""
    import tensorrt as trt

    at_least_10 = hasattr(trt, "IProgressMonitor")
    if at_least_10:
        steps: dict[str, int] = {}

        class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
            def __init__(self) -> None:
                trt.IProgressMonitor.__init__(self)

            def phase_start(
                self, phase_name: str, parent_phase: str, num_steps: SupportsInt
            ) -> None:
                steps[phase_name] = int(num_steps)
                if not parent_phase:
                    progress(phase_name, 0, int(num_steps))

            def phase_finish(self, phase_name: str) -> None:
                steps.pop(phase_name, None)

            def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
                if phase_name == next(iter(steps), None):
                    progress(phase_name, int(step) + 1, steps[phase_name])
                return not stop.is_set()

        config.progress_monitor = Monitor()
    else:
        progress("it takes minutes", 0, 1)
