"""How the report thread is doing, for the service, the watchdog and the self-test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Health:
    """A snapshot of the report thread."""

    connected: bool
    protocol: str | None
    """`MQTT 5` or `MQTT 3.1.1`, once connected."""
    backlog: int
    """Messages that the broker does not have yet."""
    acknowledged: int
    shed: int
    disk_trouble: str | None
    """Why the outbox cannot be written, while it cannot."""
    broker_trouble: str | None
    """Why there is no connection, while there is none and it is known."""
    last_progress_monotonic: float
    """When the thread last finished a round; it does so at least every 0.25 s, broker or not."""
    failure: BaseException | None
    """Why the thread has ended, or must (`BrokerRefused`); None: it is well."""
