"""One configuration, running: cameras, detector and reporter, started and stopped as one."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from edge.detector.runtimes import choose_engine
from edge.errors import RuntimeFailure
from edge.reporting.compose import Composer, Service
from edge.reporting.credentials import commands_allowed
from edge.reporting.reporter import Reporter
from edge.reporting.topics import Topics

from .actions import Actions
from .commands import CommandThread
from .detection import DetectionThread
from .pipeline import Pipeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import Config
    from edge.detector.bundle import Bundle

log = logging.getLogger(__name__)

LOADING_S = 120.0
"""A runtime that has not passed its golden by then never will."""
STUCK_S = 20.0
"""A thread that has not gone round its loop for so long hangs; the watchdog is starved of it."""
CAMERAS_STOP_S = 1.0
DETECTOR_STOP_S = 1.0
COMMANDS_STOP_S = 0.3
STOP_S = 4.2
"""For all of them, below the 5 s that SIGTERM allows: what the others leave is for sending."""


class Daemon:
    """Built from a configuration and a bundle that are known to fit; started once, stopped once.

    `reload` is called on the command thread when somebody asks for it: see `Actions`.
    """

    def __init__(
        self, config: Config, bundle: Bundle, composer: Composer, reload: Callable[[], None]
    ) -> None:
        self._composer = composer
        self._service = Service(
            bundle=f"{bundle.passport.name} {bundle.passport.version}", runtime="loading"
        )
        engine = choose_engine(bundle, config.runtime, config.threads)
        self._pipeline = Pipeline(config, bundle, composer, engine, self._wake)
        actions = Actions(config, bundle, composer, reload)
        self._commands = CommandThread(composer, actions.carry_out)
        self._hears = commands_allowed(config.mqtt)
        self._reporter = Reporter(
            config.outbox,
            config.mqtt,
            composer,
            self._service,
            self._pipeline.step,
            on_command=self._commands.take if self._hears else None,
            keeps=kept_topics(config, composer.topics),
        )
        self._detection = DetectionThread(
            bundle,
            engine,
            self._pipeline.mailbox,
            self._pipeline.found,
            lambda: self._pipeline.aisles.floor,
        )
        actions.work_on(self._pipeline, self._detection, self._reporter.health)
        self._started_s = time.monotonic()
        self._note = ""
        self.ready = False
        """Whether the runtime has passed its golden."""

    def start(self, note: str = "") -> None:
        """Start every thread; the slow ones get ready at the same time.

        `note` is what a person should know, for the status message.
        """
        self._note = note
        self._detection.start()
        self._pipeline.start()
        if self._hears:
            self._commands.answer_through(self._reporter)
        else:
            log.info(
                "commands are not heard: mqtt.commands is false, or unset and the broker "
                "knows us by neither user name nor client certificate"
            )
        self._reporter.start()

    def check(self) -> None:
        """Raise what has gone wrong for good since the last look."""
        if self._detection.error is not None:
            raise self._detection.error
        failure = self._reporter.health().failure
        if failure is not None:
            raise failure
        if not self.ready and self._detection.ready:
            self.ready = True
            self._reporter.announce(
                self._composer,
                Service(self._service.bundle, self._detection.health().runtime, self._note),
            )
        if not self.ready and time.monotonic() - self._started_s > LOADING_S:
            raise RuntimeFailure(
                f"the runtime was not ready after {LOADING_S:.0f} s",
                "run `edge verify` on the bundle to see where it stops",
            )

    def stuck(self) -> list[str]:
        """Return the threads that hang: only a restart helps."""
        rounds = {
            "detector": self._detection.health().progress_s if self.ready else time.monotonic(),
            "report": self._reporter.health().last_progress_monotonic,
        }
        limit = time.monotonic() - STUCK_S
        return [name for name, at in rounds.items() if at < limit]

    def stop(self) -> bool:
        """Stop everything within 5 s; what the broker does not have stays on the disk.

        Returns whether every thread has ended.
        """
        deadline_s = time.monotonic() + STOP_S
        self._commands.ask_to_stop()
        cameras = self._pipeline.stop(CAMERAS_STOP_S)
        detector = self._detection.stop(DETECTOR_STOP_S)
        commands = self._commands.stop(COMMANDS_STOP_S)
        reporter = self._reporter.stop(deadline_s - time.monotonic())
        return cameras and detector and commands and reporter

    def summary(self) -> str:
        """Return one line of what was done, for the log at the end."""
        health = self._reporter.health()
        return (
            f"{self._detection.health().frames} frames detected, "
            f"{health.acknowledged} messages acknowledged, {health.backlog} kept in the outbox"
        )

    def _wake(self) -> None:
        self._reporter.wake()


def compose_for(config: Config, bundle: Bundle, before: Composer | None = None) -> Composer:
    """Return the composer of a configuration; `before` is the process's last one, if any."""
    topics = Topics(config.mqtt.prefix, config.site, config.device)
    if before is None:
        return Composer(topics, bundle.labels)
    return Composer(topics, bundle.labels, before.boot, before.began_s)


def kept_topics(config: Config, topics: Topics) -> frozenset[str]:
    """Return the topics that may hold a retained message of this configuration."""
    aisles = {view.id for camera in config.cameras for view in camera.aisles}
    return frozenset(
        {topics.status}
        | {topics.state(aisle) for aisle in aisles}
        | {topics.camera(camera.name) for camera in config.cameras}
    )
