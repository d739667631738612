"""One connection's end, in words."""

import socket
import threading

from edge.config import MqttConfig
from edge.reporting.link import Dial
from edge.reporting.mqtt import Link

_CONNACK_OF_MQTT_5 = bytes([0x20, 3, 0, 0, 0])


def test_a_broker_that_hangs_up_without_a_word_may_have_taken_another_of_our_name():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take_one_and_hang_up():
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(_CONNACK_OF_MQTT_5)

        threading.Thread(target=take_one_and_hang_up, daemon=True).start()
        broker = MqttConfig(host="127.0.0.1", port=server.getsockname()[1])

        end = Link(1, Dial(broker, "p:north:a07", "MQTT 5", 5.0), lambda _: None).run()

    assert end.what == "the connection was lost"
    assert end.hint.endswith("and for another client that is 'p:north:a07'")
    assert not end.refused
