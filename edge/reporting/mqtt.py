"""One MQTT connection, from the first byte to the last: the only file that knows paho.

A `Link` lives once. The next attempt is a fresh one with a fresh paho client, so that nothing
lingers inside paho: what the outbox holds is all there is to send again.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import ssl
import time
from typing import TYPE_CHECKING, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

from .broker_errors import UNANSWERED, Trouble, explain_connack, explain_silence
from .credentials import tls_context, user_and_password
from .link import ANSWER_S, WINDOW, Acknowledged, Arrived, Down, Event, Listen, NotConnected, Up

if TYPE_CHECKING:
    from collections.abc import Callable

    from paho.mqtt.client import ConnectFlags, DisconnectFlags, MQTTMessage, SocketLike
    from paho.mqtt.reasoncodes import ReasonCode

    from .link import Dial

_log = logging.getLogger(__name__)

_KEEPALIVE_S = 20
_FAREWELL_S = 1.0
_SESSION_TAKEN_OVER = 142
_LARGEST_PACKET = (1 << 28) - 1
"""Bytes; MQTT's own limit."""
_PUBLISH_MOST = 16
"""Bytes of a publish packet besides topic, payload and correlation data, at most."""
_PACKET_TOO_LARGE = 149
_QUOTA_EXCEEDED = 151
_CODE_AT = 2
"""Where the reason code stands in a PUBACK of MQTT 5, behind the mid."""
_LARGEST_COMMAND = 1 << 20
"""Bytes that we let the broker send us at once: what is larger never gets into memory."""


class _Client(paho.Client):
    """paho, which takes an answer with a code that MQTT has for other packets only for damage.

    mosquitto answers so what is above its message_size_limit: paho would hang up, be sent the same
    message again by us, and hang up, without end.
    """

    too_large = False
    """Whether the answer in hand says that a message was too large."""

    def _handle_pubackcomp(self, cmd: Literal["PUBACK", "PUBCOMP"]) -> MQTTErrorCode:
        packet = self._in_packet["packet"]
        self.too_large = len(packet) > _CODE_AT and packet[_CODE_AT] == _PACKET_TOO_LARGE
        if self.too_large:
            packet[_CODE_AT] = _QUOTA_EXCEEDED  # one that it knows here
        return super()._handle_pubackcomp(cmd)


class Link:
    """One connection; `run` is its whole life, in the thread that calls it.

    `on_event` is called in that thread, or from `publish`, and must only take note. The other
    methods may be called from any thread.
    """

    def __init__(self, number: int, dial: Dial, on_event: Callable[[Event], None]) -> None:
        self.number = number
        self.up = False
        """Whether messages can be sent at this moment."""
        self.was_up = False
        self.largest = _LARGEST_PACKET
        """Bytes of the largest message that the broker takes."""
        self._dial = dial
        self._five = dial.version == "MQTT 5"
        self._on_event = on_event
        self._end: Trouble | None = None
        self._hang_up: str | None = None
        self._last_log = ""
        self._window = WINDOW
        self._unsent = 0
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._ear.setblocking(False)
        self._client = self._make_client()

    def run(self) -> Trouble:
        """Connect, move bytes, and return why it ended.

        Raises `NotConnected`, `OSError`, or what paho makes of bad bytes, if it never came up;
        `StartError` if a password or certificate of ours cannot be read.
        """
        try:
            self._connect()
            self._move_bytes()
        finally:
            self._close()
        # mosquitto hangs up on the one of two clients of the same name without a word.
        name = self._dial.client_id
        hint = f"look at the broker, the network, and for another client that is {name!r}"
        end = self._end or Trouble("the connection was lost", hint)
        if not self.was_up:
            raise NotConnected(self._why_not())
        return end

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, correlation: bytes | None = None
    ) -> int | None:
        """Hand a QoS 1 message to the network; never waits. Return its mid, None if it is down.

        One that is larger than the broker takes is not sent, which would be the connection's end,
        but answered with an error at once.
        """
        if not self.up:
            return None
        size = _PUBLISH_MOST + len(topic.encode()) + len(payload) + len(correlation or b"")
        if size > self.largest:
            self._unsent -= 1  # no mid of the network's is below 0
            error = f"it has {size} bytes, the broker takes {self.largest}"
            self._on_event(Acknowledged(self.number, self._unsent, error))
            return self._unsent
        properties = None
        if correlation is not None and self._five:
            properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
            properties.CorrelationData = correlation
        info = self._client.publish(topic, payload, 1, retain, properties)
        return info.mid if info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def hang_up(self, reason: str) -> None:
        """End the connection, because of `reason`; in good order if the broker still listens."""
        self._hang_up = reason
        self._ring()

    def _make_client(self) -> _Client:
        dial = self._dial
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=dial.client_id,
            clean_session=None if self._five else dial.session_s == 0,
            protocol=MQTTProtocolVersion.MQTTv5 if self._five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = ANSWER_S
        if dial.will:
            client.will_set(*dial.will, qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_log = self._on_log
        # Set, it keeps publish() from writing to the socket in the publisher's own thread.
        client.on_socket_register_write = self._on_register_write
        return client

    def _connect(self) -> None:
        broker, client = self._dial.broker, self._client
        user, password = user_and_password(broker)
        if user:
            client.username_pw_set(user, password)
        if tls := broker.tls_or_none():
            client.tls_set_context(tls_context(tls))
        if not self._five:
            client.connect(broker.host, broker.port, _KEEPALIVE_S)
            return
        session = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        session.SessionExpiryInterval = self._dial.session_s
        if isinstance(self._dial.subscribe, Listen):
            session.MaximumPacketSize = _LARGEST_COMMAND
        clean = self._dial.session_s == 0
        client.connect(
            broker.host, broker.port, _KEEPALIVE_S, clean_start=clean, properties=session
        )

    def _move_bytes(self) -> None:
        answer_by = time.monotonic() + self._dial.answer_s
        leave_by: float | None = None
        with selectors.DefaultSelector() as selector:
            sock = self._client.socket()
            if sock is None:
                return
            selector.register(sock, selectors.EVENT_READ)
            selector.register(self._ear, selectors.EVENT_READ)
            while self._client.socket() is not None:
                self._move_some(selector, sock)
                now = time.monotonic()
                if not self.was_up and now > answer_by:
                    raise NotConnected(UNANSWERED)
                if leave_by is not None and now > leave_by:
                    return
                if self._hang_up is not None and leave_by is None:
                    leave_by = now + _FAREWELL_S
                    self._end = self._end or Trouble(self._hang_up, "")
                    self._client.disconnect()

    def _move_some(self, selector: selectors.BaseSelector, sock: SocketLike) -> None:
        client = self._client
        writing = selectors.EVENT_WRITE if client.want_write() else 0
        selector.modify(sock, selectors.EVENT_READ | writing)
        # What TLS has decrypted already does not make the socket readable again.
        waiting = isinstance(sock, ssl.SSLSocket) and sock.pending() > 0
        ready = {key.fileobj: mask for key, mask in selector.select(0 if waiting else 0.5)}
        if self._ear in ready:
            with contextlib.suppress(BlockingIOError):
                self._ear.recv(4096)
        if waiting or ready.get(sock, 0) & selectors.EVENT_READ:
            client.loop_read()
        if ready.get(sock, 0) & selectors.EVENT_WRITE:
            client.loop_write()
        client.loop_misc()

    def _why_not(self) -> Trouble:
        if self._end is not None:
            return self._end
        return explain_silence(self._last_log, tls=self._dial.broker.tls_or_none() is not None)

    def _close(self) -> None:
        was, self.up = self.up, False
        if (sock := self._client.socket()) is not None:
            sock.close()
        self._bell.close()
        self._ear.close()
        if was:
            self._on_event(Down(self.number))

    def _ring(self) -> None:
        with contextlib.suppress(OSError):  # full of rings, or over already
            self._bell.send(b"\0")

    # What paho calls, all in the thread of `run` but the last.

    def _on_connect(
        self,
        client: paho.Client,
        _: object,
        flags: ConnectFlags,
        code: ReasonCode,
        given: Properties | None,
    ) -> None:
        if code.is_failure:
            self._end = explain_connack(code.value, str(code))
            return
        window = getattr(given, "ReceiveMaximum", WINDOW)
        self._window = min(WINDOW, window)
        self.largest = getattr(given, "MaximumPacketSize", _LARGEST_PACKET)
        wanted = self._dial.subscribe
        if isinstance(wanted, str):
            client.subscribe(wanted, qos=1)
            return
        if wanted is not None and wanted.wanted:
            self._listen(wanted.topic)
        elif wanted is not None and flags.session_present:
            client.unsubscribe(wanted.topic)
        self._come_up()  # after it, so that who sees us online can ask us

    def _listen(self, topic: str) -> None:
        if not self._five:
            self._client.subscribe(topic, qos=1)
            return
        # A command that somebody has left retained is not for now: it is not even sent to us, and
        # one that was just published so is recognised.
        never = SubscribeOptions.RETAIN_DO_NOT_SEND
        options = SubscribeOptions(1, retainAsPublished=True, retainHandling=never)
        self._client.subscribe(topic, options=options)

    def _come_up(self) -> None:
        self.up = self.was_up = True
        self._on_event(Up(self.number, self._window))

    def _on_disconnect(
        self,
        _: paho.Client,
        __: object,
        flags: DisconnectFlags,
        code: ReasonCode,
        ___: Properties | None,
    ) -> None:
        if not flags.is_disconnect_packet_from_server or self._end is not None:
            return
        hint = "look at the broker's log"
        if code.value == _SESSION_TAKEN_OVER:
            hint = f"another client is {self._dial.client_id!r}: each device needs its own name"
        self._end = Trouble(f"the broker ended the connection: {code}", hint)

    def _on_publish(
        self, _: paho.Client, __: object, mid: int, code: ReasonCode, ___: Properties
    ) -> None:
        error = f"{code} (MQTT reason {code.value})" if code.is_failure else None
        if self._client.too_large:
            error = f"it is too large (MQTT reason {_PACKET_TOO_LARGE})"
        self._on_event(Acknowledged(self.number, mid, error))

    def _on_subscribe(
        self, _: paho.Client, __: object, ___: int, codes: list[ReasonCode], ____: Properties | None
    ) -> None:
        refused = any(code.is_failure for code in codes)
        subscribed = self._dial.subscribe
        topic = subscribed.topic if isinstance(subscribed, Listen) else subscribed
        what = f"the broker does not let us subscribe to {topic}: {codes[0]}"
        if isinstance(subscribed, Listen):
            if refused:
                hint = "no command will be heard; correct the broker's access list"
                _log.error("mqtt: %s; %s, or set mqtt.commands: false", what, hint)
        elif refused:
            self._end = Trouble(what, "correct the broker's access list", refused=True)
            self.hang_up(what)
        else:
            self._come_up()

    def _on_message(self, _: paho.Client, __: object, message: MQTTMessage) -> None:
        given = message.properties  # None in MQTT 3.1.1
        self._on_event(
            Arrived(
                message.topic,
                bytes(message.payload),
                message.retain,
                getattr(given, "ResponseTopic", None),
                getattr(given, "CorrelationData", None),
                getattr(given, "MessageExpiryInterval", None),
            )
        )

    def _on_log(self, _: paho.Client, __: object, level: int, text: str) -> None:
        if level == paho.MQTT_LOG_ERR:
            self._last_log = text

    def _on_register_write(self, _: paho.Client, __: object, ___: SocketLike) -> None:
        self._ring()
