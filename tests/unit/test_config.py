"""What a valid configuration means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from edge.config import WHOLE_FRAME, AisleView, MqttConfig, TlsConfig, Zone

TLS = TlsConfig(ca_file="/ca.pem")


@pytest.mark.parametrize(
    ("port", "tls", "used"),
    [
        (1883, None, None),
        (8883, None, TlsConfig()),
        (8883, False, None),
        (1883, True, TlsConfig()),
        (1883, TLS, TLS),
        (8883, TLS, TLS),
    ],
)
def test_tls_is_on_at_its_port_unless_said_otherwise(port, tls, used):
    assert MqttConfig(host="b", port=port, tls=tls).tls_or_none() == used


@pytest.mark.parametrize("host", ["broker", "broker.north", "10.0.0.1", "fe80::1%eth0", "::1"])
def test_a_broker_is_a_name_or_an_address(host):
    assert MqttConfig(host=host).host == host


@pytest.mark.parametrize("host", ["", "mqtt://b", "u@b", "b/x", "a b", "b:1883", "[::1]"])
def test_a_url_is_no_host(host):
    with pytest.raises(ValidationError):
        MqttConfig(host=host)


def test_an_aisle_is_the_whole_picture_unless_said_otherwise():
    assert AisleView(id="07").zone == WHOLE_FRAME


def test_a_configuration_does_not_change_under_the_threads_that_read_it():
    with pytest.raises(ValidationError, match="frozen"):
        AisleView(id="07").id = "08"


fraction = st.floats(0, 1)


@given(
    st.floats(0, 0.9), st.floats(0, 0.9), st.floats(0.01, 0.1), st.floats(0.01, 0.1), st.booleans()
)
def test_every_rectangle_inside_the_picture_is_a_zone(left, top, width, height, clockwise):
    corners = [
        (left, top),
        (left + width, top),
        (left + width, top + height),
        (left, top + height),
    ]
    zone = corners if clockwise else corners[::-1]

    assert TypeAdapter(Zone).validate_python(zone) == tuple(zone)


@given(st.lists(fraction, min_size=1, max_size=6), fraction)
def test_corners_on_one_line_are_no_zone(along, height):
    for corners in ([(x, height) for x in along], [(x, x) for x in along]):
        with pytest.raises(ValidationError):
            TypeAdapter(Zone).validate_python(corners)
