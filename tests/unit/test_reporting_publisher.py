"""The window, what counts as acknowledged, and what a late message must not do."""

from __future__ import annotations

import logging
import ssl

import pytest

from edge.config import MqttConfig
from edge.reporting import publisher as module
from edge.reporting import unsaved
from edge.reporting.broker_errors import explain, explain_connack, explain_silence
from edge.reporting.compose import Reply
from edge.reporting.link import Listen
from edge.reporting.publisher import Publisher
from edge.reporting.store import Letter
from edge.reporting.topics import Topics
from tests.fakes.connection import FakeConnection


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(unsaved, "time", clock)
    return clock


@pytest.fixture
def publisher(monkeypatch, clock):
    monkeypatch.setattr(module, "Connection", FakeConnection)
    topics = Topics("aisle-edge", "north", "a07")
    return Publisher(MqttConfig(host="broker"), topics, lambda: b"will", lambda: None)


def up(publisher, window=20):
    publisher.connection.come_up(window)
    return publisher.look()


def letter(seq, topic="t", retain=False):
    return Letter(seq, "state" if retain else "detections", topic, retain, b"{}")


def test_the_client_is_named_after_the_device_so_that_its_session_is_found_again(publisher):
    assert publisher.connection.client_id == "aisle-edge:north:a07"


def test_no_two_devices_have_the_same_name_at_the_broker():
    devices = [("p", "a", "b:c"), ("p", "a:b", "c"), ("p", "a-b", "c"), ("p", "a", "b-c")]

    assert len({Topics(*names).client_id for names in devices}) == len(devices)


def test_the_last_will_goes_to_the_status_topic(publisher):
    assert publisher.connection.will() == ("aisle-edge/north/a07/status", b"will")


def test_nothing_is_sent_without_a_connection(publisher):
    assert publisher.room == 0
    assert not publisher.send(letter(1))


@pytest.mark.parametrize("window", [20, 5])
def test_room_is_the_brokers_window_less_what_is_in_flight_and_one_for_the_status(
    publisher, window
):
    up(publisher, window)
    publisher.send(letter(1))
    publisher.send(letter(2))

    assert publisher.room == window - 3
    assert publisher.in_flight == {1, 2}


def test_a_broker_that_takes_one_message_at_a_time_gets_letters_too(publisher):
    up(publisher, window=1)
    assert publisher.room == 1

    publisher.send_status(b"{}")
    assert publisher.room == 0


def test_an_acknowledged_letter_is_told_by_its_seq(publisher):
    up(publisher)
    publisher.send(letter(11))
    publisher.send(letter(12))

    publisher.connection.acknowledge(2)

    assert publisher.look().acknowledged == [12]
    assert publisher.in_flight == {11}


def test_a_status_is_acknowledged_without_a_seq(publisher):
    up(publisher)
    publisher.send_status(b"{}")

    publisher.connection.acknowledge(1)

    assert publisher.look().acknowledged == []
    assert not publisher.busy


def test_a_new_connection_means_to_start_over(publisher):
    up(publisher)
    publisher.send(letter(1))
    publisher.connection.go_down()
    assert publisher.look().start_over is False
    assert publisher.in_flight == set()

    progress = up(publisher)

    assert progress.start_over


def test_an_acknowledgement_of_an_earlier_connection_means_nothing(publisher):
    up(publisher)
    publisher.send(letter(1))
    publisher.connection.go_down()
    up(publisher)
    publisher.send(letter(2))

    publisher.connection.acknowledge(1, link=1)

    assert publisher.look().acknowledged == []


class TestLostConnection:
    """A broker that is killed may have acknowledged what it had not saved yet."""

    def acknowledged(self, publisher, *letters):
        for one in letters:
            publisher.send(one)
            publisher.connection.acknowledge(len(publisher.connection.sent))
        return publisher.look()

    def again(self, publisher):
        publisher.connection.go_down()
        up(publisher)
        publisher.send_repeats()
        return [(topic, retain) for _, topic, _, retain in publisher.connection.sent]

    def test_what_was_acknowledged_last_goes_out_once_more(self, publisher, clock):
        up(publisher)
        self.acknowledged(publisher, letter(1, "long ago"))
        clock.now += 10
        self.acknowledged(publisher, letter(2, "a"), letter(3, "b"))
        clock.now += 1

        assert self.again(publisher) == [("a", False), ("b", False)]

    def test_is_not_counted_as_acknowledged_twice(self, publisher):
        up(publisher)
        self.acknowledged(publisher, letter(1))
        self.again(publisher)

        publisher.connection.acknowledge(1)

        assert publisher.look().acknowledged == []
        assert not publisher.repeating

    def test_the_newest_state_is_left_with_the_broker_again_and_no_older_one(self, publisher):
        up(publisher)
        states = [letter(seq, "state", retain=True) for seq in (1, 2)]
        self.acknowledged(publisher, *states)

        assert self.again(publisher) == [("state", False), ("state", True)]

    def test_what_was_under_way_again_when_the_next_one_was_lost_is_not_forgotten(
        self, publisher, clock
    ):
        up(publisher, window=3)
        self.acknowledged(publisher, letter(1, "a"), letter(2, "b"), letter(3, "c"))
        publisher.connection.go_down()
        up(publisher, window=3)
        publisher.send_repeats()
        clock.now += 10

        assert self.again(publisher) == [("a", False), ("b", False), ("c", False)]

    def test_a_refusal_of_it_is_logged_and_that_is_all(self, publisher, caplog):
        up(publisher)
        self.acknowledged(publisher, letter(1, "a"))
        self.again(publisher)

        publisher.connection.acknowledge(1, error="Quota exceeded (MQTT reason 151)")

        assert not publisher.look().start_over
        assert "does not take a repeat on a: Quota exceeded" in caplog.text


class TestRefusedMessage:
    def refuse(self, publisher, mid):
        publisher.connection.acknowledge(mid, error="Quota exceeded (MQTT reason 151)")
        return publisher.look()

    def test_is_not_acknowledged_and_tried_again_only_after_a_while(self, publisher, clock):
        up(publisher)
        publisher.send(letter(1))

        assert self.refuse(publisher, 1).acknowledged == []
        clock.now += 4
        assert not publisher.look().start_over
        clock.now += 2
        assert publisher.look().start_over
        assert not publisher.look().start_over

    def test_is_logged_once_a_round_with_topic_and_reason(self, publisher, caplog):
        up(publisher)
        publisher.send(letter(1, "t/07"))
        publisher.send(letter(2, "t/08"))

        self.refuse(publisher, 1)
        self.refuse(publisher, 2)

        (error,) = [r.message for r in caplog.records if r.levelno == logging.ERROR]
        assert "t/07" in error
        assert "Quota exceeded" in error

    def test_waits_longer_each_time_and_short_again_after_a_success(self, publisher, clock):
        up(publisher)
        delays = []
        for seq in (1, 2, 3):
            publisher.send(letter(seq))
            self.refuse(publisher, len(publisher.connection.sent))
            began = clock.now
            while not publisher.look().start_over:
                clock.now += 1
            delays.append(clock.now - began)
            if seq == 2:
                publisher.send(letter(seq))
                publisher.connection.acknowledge(len(publisher.connection.sent))
                publisher.look()

        assert delays == [5, 10, 5]


def test_a_late_state_does_not_replace_a_newer_one_at_the_broker(publisher):
    up(publisher)
    publisher.send(letter(5, "state", retain=True))
    publisher.send(letter(8, "state", retain=True))
    publisher.connection.acknowledge(1, error="Quota exceeded")
    publisher.connection.acknowledge(2)
    publisher.look()

    publisher.send(letter(5, "state", retain=True))
    publisher.send(letter(9, "state", retain=True))

    assert [retain for *_, retain in publisher.connection.sent] == [True, True, False, True]


def test_a_broker_that_acknowledges_nothing_is_given_up(publisher, clock):
    up(publisher)
    publisher.send(letter(1))
    clock.now += 19
    publisher.look()
    assert publisher.connection.dropped == []

    clock.now += 2
    publisher.look()

    assert publisher.connection.dropped == ["no acknowledgement for 20 s"]


def test_a_quiet_connection_with_nothing_in_flight_is_kept(publisher, clock):
    up(publisher)
    clock.now += 3600
    publisher.send(letter(1))

    publisher.look()

    assert publisher.connection.dropped == []


class TestClearing:
    def test_empties_each_topic_once_and_tells_when_it_is_done(self, publisher):
        publisher.clear({"a/state", "b/state"})
        up(publisher)
        publisher.send_clearing()
        publisher.send_clearing()

        assert [sent[1:] for sent in publisher.connection.sent] == [
            ("a/state", b"", True),
            ("b/state", b"", True),
        ]
        publisher.connection.acknowledge(2)
        assert publisher.look().cleared == ["b/state"]
        publisher.send_clearing()
        assert len(publisher.connection.sent) == 2

    def test_is_done_again_if_the_connection_went_before_the_broker_had_it(self, publisher):
        publisher.clear({"a/state", "b/state"})
        up(publisher)
        publisher.send_clearing()
        publisher.connection.acknowledge(1)
        publisher.look()
        publisher.connection.go_down()
        up(publisher)

        publisher.send_clearing()

        assert [topic for _, topic, _, _ in publisher.connection.sent] == ["b/state"]

    def test_what_still_waits_for_a_gone_topic_is_sent_unretained(self, publisher):
        publisher.clear({"a/state"})
        up(publisher)

        publisher.send(letter(1, "a/state", retain=True))
        publisher.send(letter(2, "b/state", retain=True))

        assert [retain for *_, retain in publisher.connection.sent] == [False, True]

    def test_leaves_room_for_the_status(self, publisher):
        publisher.clear({f"{number}/state" for number in range(50)})
        up(publisher, window=5)

        publisher.send_clearing()

        assert len(publisher.connection.sent) == 4
        assert publisher.send_status(b"{}")

    def test_a_broker_that_does_not_let_us_is_not_asked_again(self, publisher, caplog):
        publisher.clear({"a/state"})
        up(publisher)
        publisher.send_clearing()
        publisher.connection.acknowledge(1, error="Not authorized (MQTT reason 135)")

        assert publisher.look().cleared == []
        publisher.send_clearing()
        assert len(publisher.connection.sent) == 1
        assert "does not take a clearing on a/state: Not authorized" in caplog.text


class TestCommands:
    def test_are_subscribed_to_where_somebody_hears_them(self, monkeypatch):
        monkeypatch.setattr(module, "Connection", FakeConnection)
        heard = []
        topics = Topics("aisle-edge", "north", "a07")
        one = Publisher(
            MqttConfig(host="b"), topics, lambda: b"", lambda: None, on_command=heard.append
        )

        one.connection.bring(topic="t", payload=b"{}", retained=False)

        assert one.connection.subscribe == Listen("aisle-edge/north/a07/commands/+", wanted=True)
        assert [x.topic for x in heard] == ["t"]

    def test_are_given_up_where_nobody_does(self, publisher):
        publisher.connection.bring(topic="t", payload=b"{}", retained=False)

        assert not publisher.connection.subscribe.wanted
        assert not publisher.look().start_over

    def test_an_answer_goes_out_unretained_with_its_correlation_data(self, publisher):
        up(publisher)

        assert publisher.send_reply(Reply("answers/me", b"{}", b"\0"))

        assert publisher.connection.sent == [(1, "answers/me", b"{}", False)]
        assert publisher.connection.correlations == [b"\0"]
        publisher.connection.acknowledge(1)
        assert publisher.look().acknowledged == []

    def test_an_answer_waits_for_the_window(self, publisher):
        up(publisher, window=1)
        publisher.send_status(b"{}")

        assert not publisher.send_reply(Reply("answers/me", b"{}"))

    def test_an_answer_that_the_broker_refuses_is_logged_and_let_go(self, publisher, caplog):
        up(publisher)
        publisher.send_reply(Reply("answers/me", b"{}"))
        publisher.connection.acknowledge(1, error="Not authorized (MQTT reason 135)")

        assert not publisher.look().start_over
        assert "does not take a reply on answers/me" in caplog.text


@pytest.mark.parametrize("code", [62, 64])
def test_a_certificate_for_another_name_or_address_is_no_matter_of_authorities(code):
    assert "mqtt.host must be a name or an address in" in explain(certificate_error(code)).hint


def certificate_error(code):
    error = ssl.SSLCertVerificationError(1, "certificate verify failed")
    error.verify_code, error.verify_message = code, "why"
    return error


class TestWords:
    @pytest.mark.parametrize(
        ("trouble", "refused", "older"),
        [
            (explain(ConnectionRefusedError()), False, False),
            (explain(TimeoutError()), False, False),
            (explain(OSError(113, "No route to host")), False, False),
            (explain(certificate_error(18)), True, False),
            (explain(certificate_error(62)), True, False),
            (explain(certificate_error(64)), True, False),
            (explain(certificate_error(9)), False, False),  # the clock may not be set yet
            (explain(certificate_error(10)), False, False),
            (explain_connack(132, "Unsupported protocol version"), False, True),
            (explain_connack(134, "Bad user name or password"), True, False),
            (explain_connack(135, "Not authorized"), True, False),
            (explain_connack(128, "Unspecified error"), False, False),
            (explain_connack(136, "Server unavailable"), False, False),
            (explain_silence("", tls=False), False, True),
            (explain_silence("failed: [SSL: X] tlsv13 alert unknown ca", tls=True), True, False),
        ],
    )
    def test_what_ends_it_what_is_retried_and_what_asks_for_an_older_mqtt(
        self, trouble, refused, older
    ):
        assert (trouble.refused, trouble.other_protocol) == (refused, older)
        assert trouble.what
        assert trouble.hint

    def test_who_is_hung_up_on_is_asked_about_tls(self):
        """So a broker ends a handshake that it does not understand."""
        assert "TLS" in explain(ConnectionResetError(104, "Connection reset by peer")).hint
