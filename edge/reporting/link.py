"""What a connection to the broker is made from, and what happens on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from edge.config import MqttConfig

    from .broker_errors import Trouble

WINDOW = 20
"""Messages in flight at most: mosquitto sheds what exceeds its own default of 20."""
ANSWER_S = 5.0
"""How long the broker may take for each step of connecting."""
_DAY_S = 24 * 3600

Version = Literal["MQTT 5", "MQTT 3.1.1"]


@dataclass(frozen=True, slots=True)
class Up:
    """Connected; at most `window` messages may be in flight."""

    link: int
    window: int


@dataclass(frozen=True, slots=True)
class Down:
    """The connection is gone; what was in flight on it will not be acknowledged any more."""

    link: int


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The broker answered a message: it has it, or `error` says why it does not take it."""

    link: int
    mid: int
    error: str | None


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message that was subscribed to; what MQTT 3.1.1 does not know is None."""

    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None
    expires_s: int | None = None
    """Seconds from its arrival after which nobody wants it any more."""


Event = Up | Down | Acknowledged | Arrived


class NotConnected(Exception):  # noqa: N818 - reads as what happened
    """The broker could be reached, and no connection came of it."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.what)
        self.trouble = trouble


@dataclass(frozen=True, slots=True)
class Listen:
    """A subscription beside other work: where it is refused, the connection goes on without.

    Not `wanted`, it is given up: the broker may still keep it for an earlier connection of ours.
    """

    topic: str
    wanted: bool


@dataclass(frozen=True, slots=True)
class Dial:
    """How to connect.

    `subscribe`, where it is a topic, is what the connection is for: its session ends with it, and
    it is up once the broker has agreed.
    """

    broker: MqttConfig
    client_id: str
    version: Version
    answer_s: float = ANSWER_S
    """How long the broker may take to answer, once it is reached."""
    will: tuple[str, bytes] | None = None
    """Topic and payload; retained, QoS 1."""
    subscribe: str | Listen | None = None

    @property
    def session_s(self) -> int:
        """How long the broker keeps our session while we are away, in seconds.

        MQTT 3.1.1 has no expiry: a command that waited there for us would be carried out however
        old it is, so there the session ends with the connection.
        """
        return 0 if isinstance(self.subscribe, str) or self.version == "MQTT 3.1.1" else _DAY_S
