"""Keeps a connection to the broker: connects, and connects again, in a thread of its own."""

from __future__ import annotations

import logging
import random
import threading
import time
from typing import TYPE_CHECKING

from edge.errors import BrokerRefused, StartError

from .broker_errors import Trouble, explain
from .link import ANSWER_S, Dial, NotConnected, Up
from .mqtt import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.config import MqttConfig

    from .link import Event, Listen, Version

_log = logging.getLogger(__name__)

_SHORTEST_DELAY_S = 1.0
_LONGEST_DELAY_S = 60.0
_SETTLED_S = 5.0
"""A connection that held this long was a good one: the next delay is a short one again."""
_REMIND_S = 600.0
_TRIAL_S = 1.5
"""amqtt, which knows no MQTT 5, neither answers it nor hangs up: ask in 3.1.1 soon."""


class Connection:
    """Keeps one MQTT connection: version 5 if the broker speaks it, else 3.1.1.

    `on_event` is called in the connection's thread and must only take note. `will` composes the
    Last Will, (topic, payload), for each attempt. When the broker refuses us before it ever took
    us, `refused` says so and nothing more is tried; afterwards that is logged and tried again.
    `subscribe` is as in `Dial`.
    """

    def __init__(
        self,
        broker: MqttConfig,
        client_id: str,
        on_event: Callable[[Event], None],
        *,
        will: Callable[[], tuple[str, bytes]] | None = None,
        subscribe: str | Listen | None = None,
    ) -> None:
        self.refused: StartError | None = None
        self.trouble: Trouble | None = None
        """Why there is no connection at the moment, once that is known."""
        self.where = f"mqtt {broker.host}:{broker.port}"
        self._broker = broker
        self._client_id = client_id
        self._on_event = on_event
        self._will = will
        self._subscribe = subscribe
        self._version: Version = "MQTT 5"
        self._ever_up = False
        self._link: Link | None = None
        self._links = 0
        self._stopping = threading.Event()
        self._said: tuple[str, float] = ("", 0.0)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    @property
    def connected(self) -> bool:
        """Whether messages can be sent at this moment."""
        link = self._link
        return link is not None and link.up

    @property
    def protocol(self) -> str | None:
        """`MQTT 5` or `MQTT 3.1.1`, once one of them has worked."""
        return self._version if self._ever_up else None

    def start(self) -> None:
        """Begin to connect; returns at once."""
        self._thread.start()

    @property
    def largest(self) -> int | None:
        """Bytes of the largest message that the broker takes; None without a connection."""
        link = self._link
        return None if link is None else link.largest

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, correlation: bytes | None = None
    ) -> tuple[int, int] | None:
        """Hand a QoS 1 message to the network; never waits.

        `correlation` is what MQTT 5 calls so, and is left out in MQTT 3.1.1. Returns (link, mid) as
        `Acknowledged` will name it, or None when there is no connection.
        """
        link = self._link
        mid = link.publish(topic, payload, retain=retain, correlation=correlation) if link else None
        return None if link is None or mid is None else (link.number, mid)

    def drop(self, reason: str) -> None:
        """Give this connection up, because of `reason`, and make a new one."""
        if link := self._link:
            link.hang_up(reason)

    def stop(self, timeout_s: float) -> None:
        """Disconnect in good order (no Last Will), for at most `timeout_s` seconds."""
        self._stopping.set()
        self.drop("stopped")
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        quick_ends = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            trouble, older = self._attempt()
            if older:
                continue
            self._note(trouble)
            if self.refused is not None:
                return
            held = time.monotonic() - began > _SETTLED_S + ANSWER_S
            quick_ends = 0 if held else quick_ends + 1
            longest = min(_LONGEST_DELAY_S, 2.0 ** min(quick_ends + 1, 16))
            delay_s = random.uniform(_SHORTEST_DELAY_S, longest)  # noqa: S311 - spreads the load
            self._stopping.wait(delay_s)

    def _attempt(self) -> tuple[Trouble, bool]:
        """Connect and stay connected; return why it ended, and whether to try an older MQTT."""
        try:
            trouble = self._live()
        except NotConnected as error:
            trouble = error.trouble
        except StartError as error:
            trouble = Trouble(error.message, error.hint, refused=True)
        except Exception as error:  # noqa: BLE001 - paho's parser fails in many ways on bad bytes
            trouble = explain(error)
        finally:
            self._link = None
        if not trouble.other_protocol or self._ever_up:
            return trouble, False
        older = self._version == "MQTT 5"
        self._version = "MQTT 3.1.1" if older else "MQTT 5"
        return trouble, older

    def _live(self) -> Trouble:
        self._links += 1
        will = self._will() if self._will else None
        patience = _TRIAL_S if self._version == "MQTT 5" and not self._ever_up else ANSWER_S
        dial = Dial(self._broker, self._client_id, self._version, patience, will, self._subscribe)
        self._link = Link(self._links, dial, self._hear)
        if self._stopping.is_set():  # it was set before there was a link to hang up
            self._link.hang_up("stopped")
        return self._link.run()

    def _hear(self, event: Event) -> None:
        if isinstance(event, Up):
            self._ever_up = True
            self.trouble = None
            self._said = ("", 0.0)
            _log.info("%s: connected, %s", self.where, self._version)
        self._on_event(event)

    def _note(self, trouble: Trouble) -> None:
        if self._stopping.is_set():
            return
        self.trouble = trouble
        if trouble.refused and not self._ever_up:
            self.refused = BrokerRefused(f"{self.where}: {trouble.what}", trouble.hint)
            return
        what, when = self._said
        if trouble.what != what or time.monotonic() - when > _REMIND_S:
            hint = f"{trouble.hint}; " if trouble.hint else ""
            _log.warning("%s: %s; %strying again", self.where, trouble.what, hint)
            self._said = (trouble.what, time.monotonic())
